//! Randomness for spreading clients over time; never for keys.

use std::time::Duration;

use aws_lc_rs::rand;

/// A duration chosen evenly between zero and `most`.
pub fn up_to(most: Duration) -> Duration {
    most.mul_f64(fraction())
}

/// A number chosen evenly in `0.0..1.0`. Without randomness it is 0.5: a clock
/// that is not spread is better than a client that stops.
pub fn fraction() -> f64 {
    let mut bytes = [0u8; 4];
    match rand::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0),
        Err(_) => 0.5,
    }
}
