//! Random and mutated inputs for the parsers of bytes from peers.
//!
//! They are the same in every run. Their number is 20,000 for each parser;
//! `SLUICE_TEST_FUZZ_INPUTS` sets another one.

const DEFAULT_INPUTS: u64 = 20_000;

/// The longest random input.
const MAX_BYTES: u64 = 4096;

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// Parses the inputs of a corpus, which reach deep into a parser, and then random and mutated ones.
pub(super) fn fuzz(corpus: &[&[u8]], mut parse: impl FnMut(&[u8], &mut Random)) {
    let inputs = std::env::var("SLUICE_TEST_FUZZ_INPUTS");
    let inputs = inputs.map_or(DEFAULT_INPUTS, |inputs| inputs.parse().unwrap());
    let mut random = Random(SEED);
    for input in corpus {
        parse(input, &mut random);
    }
    for _ in 0..inputs {
        let input = random.input(corpus);
        parse(&input, &mut random);
    }
}

/// A reproducible generator (xorshift).
pub(super) struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(super) fn below(&mut self, limit: u64) -> usize {
        usize::try_from(self.next() % limit).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[3]
    }

    fn input(&mut self, corpus: &[&[u8]]) -> Vec<u8> {
        if self.below(3) == 0 {
            let length = self.below(MAX_BYTES);
            return (0..length).map(|_| self.byte()).collect();
        }
        let mut input = corpus[self.below(corpus.len() as u64)].to_vec();
        for _ in 0..self.below(8) {
            self.mutate(&mut input, corpus);
        }
        input
    }

    fn mutate(&mut self, input: &mut Vec<u8>, corpus: &[&[u8]]) {
        let at = self.below(input.len() as u64 + 1);
        match self.below(5) {
            0 => input.truncate(at),
            1 => input.insert(at, self.byte()),
            2 if at < input.len() => input[at] = self.byte(),
            3 if at < input.len() => input[at] ^= 1 << self.below(8),
            _ => {
                let other = corpus[self.below(corpus.len() as u64)];
                input.extend_from_slice(&other[self.below(other.len() as u64)..]);
            }
        }
    }
}
