// Counts the words of files, and leaves what it found in /counts.txt of the box's memory.
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static long words(FILE *file) {
    long count = 0;
    int inside = 0, c;
    while ((c = getc(file)) != EOF) {
        count += !isspace(c) && !inside;
        inside = !isspace(c);
    }
    return count;
}

int main(int argc, char **argv) {
    FILE *counts = fopen("/counts.txt", "w+");
    if (!counts) {
        perror("/counts.txt");
        return 1;
    }
    for (int n = 1; n < argc; n++) {
        FILE *file = fopen(argv[n], "r");
        if (!file) {
            fprintf(stderr, "%s: %s\n", argv[n], strerror(errno));
            return 1;
        }
        fprintf(counts, "%ld %s\n", words(file), argv[n]);
        fclose(file);
    }
    rewind(counts);
    for (int c; (c = getc(counts)) != EOF;)
        putchar(c);
    return 0;
}
