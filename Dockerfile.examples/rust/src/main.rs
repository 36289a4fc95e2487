//! Prints the primes below its argument, found by several threads.

use std::thread;

fn is_prime(n: &u64) -> bool {
    *n > 1 && (2..).take_while(|d| d * d <= *n).all(|d| n % d != 0)
}

fn main() {
    let end: u64 = std::env::args().nth(1).and_then(|word| word.parse().ok()).expect("a number");
    let step = end / 4 + 1;
    let parts: Vec<_> = (0..4)
        .map(|part| thread::spawn(move || (part * step..end.min((part + 1) * step)).filter(is_prime).collect()))
        .collect();
    let primes: Vec<Vec<u64>> = parts.into_iter().map(|part| part.join().expect("a thread")).collect();
    let text: Vec<String> = primes.concat().iter().map(u64::to_string).collect();
    println!("{}", text.join(" "));
}
