use num_bigint::BigUint;
use x509_parser::public_key::{PublicKey, RSAPublicKey};
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::certificates::CsrError;

/// Checks that a key is of a kind that is certified, and sound: before anything is verified with it, since verifying
/// with a key of the requester's making can cost far more than looking at it.
pub(crate) fn check_public_key(key: &SubjectPublicKeyInfo<'_>) -> Result<(), CsrError> {
    if key.subject_public_key.unused_bits != 0 {
        return Err(CsrError::Encoding);
    }
    let algorithm = key.algorithm.algorithm.as_bytes();
    let parameters = key.algorithm.parameters.as_ref();
    match algorithm {
        RSA => check_rsa(key),
        EC_PUBLIC_KEY => {
            let curve = parameters.and_then(|curve| curve.as_oid().ok()).ok_or(CsrError::KeyType)?;
            let curve = Curve::named(curve.as_bytes()).ok_or(CsrError::KeyType)?;
            curve.check_point(&key.subject_public_key.data)
        }
        ED25519 if parameters.is_none() => check_ed25519(&key.subject_public_key.data),
        _ => Err(CsrError::KeyType),
    }
}

/// A short Weierstrass curve y² = x³ - 3x + b over a prime field (FIPS 186-4 §D.1.2).
struct Curve {
    prime: &'static str,
    b: &'static str,
    coordinate_bytes: usize,
}

impl Curve {
    fn named(oid: &[u8]) -> Option<&'static Self> {
        match oid {
            SECP256R1 => Some(&P256),
            SECP384R1 => Some(&P384),
            _ => None,
        }
    }

    /// An uncompressed point (SEC 1 §2.3.3) on the curve. The point at infinity has no such form, and both curves have
    /// cofactor 1, so that every other point generates the whole group.
    fn check_point(&self, point: &[u8]) -> Result<(), CsrError> {
        let Some((UNCOMPRESSED, coordinates)) = point.split_first() else {
            return Err(CsrError::BadKey);
        };
        if coordinates.len() != 2 * self.coordinate_bytes {
            return Err(CsrError::BadKey);
        }
        let (x, y) = coordinates.split_at_checked(self.coordinate_bytes).ok_or(CsrError::BadKey)?;
        if self.contains(&BigUint::from_bytes_be(x), &BigUint::from_bytes_be(y)) {
            Ok(())
        } else {
            Err(CsrError::BadKey)
        }
    }

    fn contains(&self, x: &BigUint, y: &BigUint) -> bool {
        let (Some(prime), Some(b)) = (parse_hex(self.prime), parse_hex(self.b)) else {
            return false;
        };
        if *x >= prime || *y >= prime {
            return false;
        }
        // x³ + (p - 3)x + b, so that nothing goes below zero.
        let minus_three = &prime - 3_u32;
        let right = (x * x * x + minus_three * x + b) % &prime;
        y * y % prime == right
    }
}

fn check_rsa(key: &SubjectPublicKeyInfo<'_>) -> Result<(), CsrError> {
    let Ok(PublicKey::RSA(RSAPublicKey { modulus, exponent })) = key.parsed() else {
        return Err(CsrError::BadKey);
    };
    // One sign byte more than 4096 bits; bounds the work of everything that follows.
    if modulus.len() > MAX_MODULUS_BYTES + 1 || exponent.len() > MAX_EXPONENT_BYTES + 1 {
        return Err(CsrError::KeySize);
    }
    let modulus = BigUint::from_bytes_be(modulus);
    let exponent = BigUint::from_bytes_be(exponent);
    if !(2_048..=4_096).contains(&modulus.bits()) || exponent < BigUint::from(65_537_u32) {
        return Err(CsrError::KeySize);
    }
    if !exponent.bit(0) || !modulus.bit(0) || has_small_factor(&modulus) || has_close_primes(&modulus) {
        return Err(CsrError::WeakKey);
    }
    if has_roca_fingerprint(&modulus) { Err(CsrError::WeakKey) } else { Ok(()) }
}

/// Trial division by every odd number below a bound that no honest prime is under.
fn has_small_factor(modulus: &BigUint) -> bool {
    (3..SMALL_FACTOR_BOUND).step_by(2).any(|divisor: u32| (modulus % divisor) == BigUint::ZERO)
}

/// Fermat's method: n = a² - b² with a just above √n finds primes that share their upper half (CVE-2022-26320).
fn has_close_primes(modulus: &BigUint) -> bool {
    let mut a = modulus.sqrt();
    if &(&a * &a) < modulus {
        a += 1_u32;
    }
    for _ in 0..FERMAT_ROUNDS {
        let b_squared = &a * &a - modulus;
        if is_square(&b_squared) {
            return true;
        }
        a += 1_u32;
    }
    false
}

/// The remainder modulo 64 rules most numbers out before the costly root.
fn is_square(number: &BigUint) -> bool {
    let remainder = number.iter_u32_digits().next().unwrap_or(0) & 63;
    let may_be_square = SQUARES_MODULO_64 >> remainder & 1 == 1;
    may_be_square && {
        let root = number.sqrt();
        &(&root * &root) == number
    }
}

/// Keys of the generator of CVE-2017-15361: modulo each of these primes such a modulus is a power of 65537, which
/// happens by chance to one key in 2^27 or fewer.
fn has_roca_fingerprint(modulus: &BigUint) -> bool {
    ROCA_PRIMES.iter().all(|prime| {
        let remainder = (modulus % *prime).iter_u32_digits().next().unwrap_or(0);
        is_power_of_65537(remainder, *prime)
    })
}

fn is_power_of_65537(number: u32, prime: u32) -> bool {
    let generator = 65_537 % prime;
    let mut power = 1 % prime;
    for _ in 0..prime {
        if power == number {
            return true;
        }
        power = power * generator % prime;
    }
    false
}

/// A point of 32 bytes that generates more than the eight points of small order: with one of those, anybody can make
/// signatures that verify.
fn check_ed25519(point: &[u8]) -> Result<(), CsrError> {
    let point: &[u8; 32] = point.try_into().map_err(|_| CsrError::BadKey)?;
    let mut y = *point;
    // The top bit is the sign of x; what is left is y, little-endian.
    if let Some(last) = y.last_mut() {
        *last &= 0x7f;
    }
    let y = BigUint::from_bytes_le(&y);
    let prime = (BigUint::from(1_u32) << 255_u32) - 19_u32;
    if y >= prime {
        return Err(CsrError::BadKey);
    }
    let is_small_order = SMALL_ORDER_Y.iter().filter_map(|hex| parse_hex(hex)).any(|small| small == y);
    let is_minus_one = &y + 1_u32 == prime;
    if is_small_order || is_minus_one { Err(CsrError::BadKey) } else { Ok(()) }
}

fn parse_hex(hex: &str) -> Option<BigUint> {
    BigUint::parse_bytes(hex.as_bytes(), 16)
}

// Contents of the object identifiers (RFC 3279 §2.3, RFC 5480 §2.1.1, RFC 8410 §3).
/// 1.2.840.113549.1.1.1
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// 1.2.840.10045.2.1
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// 1.2.840.10045.3.1.7
const SECP256R1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// 1.3.132.0.34
const SECP384R1: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
/// 1.3.101.112
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

const UNCOMPRESSED: &u8 = &0x04;

const P256: Curve = Curve {
    prime: "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff",
    b: "5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b",
    coordinate_bytes: 32,
};
const P384: Curve = Curve {
    prime: "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffff0000000000000000ffffffff",
    b: "b3312fa7e23ee7e4988e056be3f82d19181d9c6efe8141120314088f5013875ac656398d8a2ed19d2a85c8edd3ec2aef",
    coordinate_bytes: 48,
};

const MAX_MODULUS_BYTES: usize = 512;
/// Exponents beyond 32 bits have no use and make verifying slow.
const MAX_EXPONENT_BYTES: usize = 4;
const SMALL_FACTOR_BOUND: u32 = 1_000;
const FERMAT_ROUNDS: usize = 100;

/// Bit n is set if n is a square modulo 64: 0, 1, 4, 9, 16, 17, 25, 33, 36, 41, 49, 57.
const SQUARES_MODULO_64: u64 = 0x0202_0212_0203_0213;

/// The primes of the fingerprint (Nemec et al., "The Return of Coppersmith's Attack", 2017, §3.1), up to 167.
const ROCA_PRIMES: &[u32] = &[
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103,
    107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

/// The y of the points of small order on edwards25519, all but p - 1 (RFC 7748 §7, RFC 8032 §5.1).
const SMALL_ORDER_Y: &[&str] = &[
    "0",
    "1",
    "7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd83d3d706a17c7",
    "05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares_modulo_64_are_all_there() {
        let squares = (0..64_u64).fold(0_u64, |bits, n| bits | 1 << (n * n % 64));
        assert_eq!(squares, SQUARES_MODULO_64);
    }

    #[test]
    fn c22_only_points_on_the_curve_pass() {
        // The base point of P-256 (FIPS 186-4 §D.1.2.3).
        let base = concat!(
            "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
            "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
        );
        let mut point = vec![4];
        point.extend(parse_hex(base).unwrap().to_bytes_be());
        assert_eq!(P256.check_point(&point), Ok(()));
        *point.last_mut().unwrap() ^= 1;
        assert_eq!(P256.check_point(&point), Err(CsrError::BadKey));
        assert_eq!(P256.check_point(&[0; 65]), Err(CsrError::BadKey));
        assert_eq!(P256.check_point(&[0]), Err(CsrError::BadKey));
        assert_eq!(P256.check_point(&[&[4][..], &[0; 64]].concat()), Err(CsrError::BadKey));
        assert_eq!(P384.check_point(&point), Err(CsrError::BadKey));
    }

    #[test]
    fn c20_close_primes_are_found() {
        // Two neighbours of 2^1024: any odd numbers serve, since Fermat's method does not ask for primes.
        let p = (BigUint::from(1_u32) << 1_024_u32) + 643_u32;
        let q = &p + 1_000_u32;
        assert!(has_close_primes(&(&p * &q)));
        assert!(has_close_primes(&(&p * &p)));
        let far = (BigUint::from(3_u32) << 1_023_u32) + 1_u32;
        assert!(!has_close_primes(&(&p * &far)));
    }

    #[test]
    fn c20_small_factors_are_found() {
        let rest = (BigUint::from(1_u32) << 2_040_u32) + 1_u32;
        assert!(has_small_factor(&(rest * 997_u32)));
    }

    #[test]
    fn c20_roca_keys_have_the_fingerprint() {
        // Such primes have the form k·M + 65537^a mod M, with M the product of small primes; a product of two has it too.
        let product = ROCA_PRIMES.iter().fold(BigUint::from(2_u32), |product, prime| product * *prime);
        let prime = |a: u32, k: u32| &product * k + BigUint::from(65_537_u32).modpow(&a.into(), &product);
        assert!(has_roca_fingerprint(&(prime(1_234, 99_991) * prime(987, 77_777))));
        assert!(!has_roca_fingerprint(&((BigUint::from(1_u32) << 2_047_u32) + 9_u32)));
    }

    #[test]
    fn points_of_small_order_are_refused() {
        assert_eq!(check_ed25519(&[0; 32]), Err(CsrError::BadKey));
        let order_eight = parse_hex(SMALL_ORDER_Y[3]).unwrap().to_bytes_le();
        assert_eq!(check_ed25519(&order_eight), Err(CsrError::BadKey));
        assert_eq!(check_ed25519(&[0xff; 32]), Err(CsrError::BadKey));
        assert_eq!(check_ed25519(&[0x58; 32]), Ok(()));
    }
}
