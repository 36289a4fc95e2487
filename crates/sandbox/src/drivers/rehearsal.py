# What a template's interpreter runs before sandboxes start from it, so that in each of them code of all kinds finds its way known.
import math
from collections import Counter


def primes(most):
    found = []
    for number in range(2, most):
        if all(number % prime for prime in found if prime * prime <= number):
            found.append(number)
    return found


class Point:
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __repr__(self):
        return f"Point({self.x!r}, {self.y:.2f})"


try:
    {}["none"]
except KeyError as error:
    print("caught", repr(error))
text = "the quick brown fox jumps over the lazy dog"
words = {word: len(word) for word in sorted(text.split())}
print(words, Counter(text).most_common(3), math.sqrt(2), sum(primes(100)), sep="\n")
print([Point(n, n / 3) for n in range(3)], "%s %d" % ("x", 7), b"bytes".hex())
primes(50)[-1]
