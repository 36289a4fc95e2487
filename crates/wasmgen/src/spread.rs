//! Where an indirect jump with many targets goes on: a table of places with few of them each, found by one multiplication, so
//! that the host predicts one jump and not a row of comparisons.

use crate::graph::Id;
use mem::desk::JUMP_FACTOR;

/// Factors that [`Spread::new`] tries.
const FACTORS: u64 = 32;

/// Targets of indirect jumps, spread by a product's upper bits over at least as many places, a power of two.
pub struct Spread {
    /// What an address is multiplied by (wrapping).
    pub factor: u64,
    /// How far the product is shifted right for the number of the place.
    pub shift: u32,
    /// Targets by place: their addresses and nodes.
    pub places: Vec<Vec<(u64, Id)>>,
}

impl Spread {
    /// The best of a few factors: one that puts least together.
    pub fn new(targets: &[(u64, Id)]) -> Spread {
        let bits = (2 * targets.len()).next_power_of_two().trailing_zeros().max(1);
        let shift = u64::BITS - bits;
        let spread = |factor: u64| {
            let mut places = vec![Vec::new(); 1 << bits];
            for &(pc, to) in targets {
                places[(pc.wrapping_mul(factor) >> shift) as usize].push((pc, to));
            }
            Spread { factor, shift, places }
        };
        let together = |spread: &Spread| -> usize {
            spread.places.iter().map(|place| place.len() * place.len()).sum()
        };
        let factors = (1..=FACTORS).map(|n| JUMP_FACTOR.wrapping_mul(2 * n + 1));
        factors.map(spread).min_by_key(together).unwrap_or_else(|| spread(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_where_its_address_leads_and_few_share_a_place() {
        let targets: Vec<(u64, Id)> = (0..200).map(|n| (0x52_0000 + 173 * n as u64, n)).collect();
        let spread = Spread::new(&targets);
        for target in &targets {
            let place = (target.0.wrapping_mul(spread.factor) >> spread.shift) as usize;
            assert!(spread.places[place].contains(target));
        }
        assert_eq!(spread.places.iter().map(Vec::len).sum::<usize>(), targets.len());
        assert!(spread.places.iter().all(|place| place.len() <= 4));
    }

    #[test]
    fn one_target_and_none_have_places() {
        assert_eq!(Spread::new(&[]).places.iter().map(Vec::len).sum::<usize>(), 0);
        assert_eq!(Spread::new(&[(7, 1)]).places.concat(), [(7, 1)]);
    }
}
