package boxer;

import java.util.Arrays;
import java.util.TreeMap;
import java.util.concurrent.Executors;
import java.util.stream.Collectors;

/** Counts words, and adds numbers in several threads. */
public class Words {
    public static void main(String[] args) throws Exception {
        var text = args.length > 0 ? String.join(" ", args) : "to be or not to be";
        var counts = Arrays.stream(text.split(" "))
                .collect(Collectors.groupingBy(word -> word, TreeMap::new, Collectors.counting()));
        System.out.println(counts);
        var pool = Executors.newFixedThreadPool(4);
        var sums = new java.util.ArrayList<java.util.concurrent.Future<Long>>();
        for (int i = 1; i <= 4; i++) {
            long end = i * 1000L;
            sums.add(pool.submit(() -> java.util.stream.LongStream.rangeClosed(1, end).sum()));
        }
        for (var sum : sums) {
            System.out.println(sum.get());
        }
        pool.shutdown();
        System.out.println(System.getProperty("os.name") + " " + System.getProperty("os.arch"));
    }
}
