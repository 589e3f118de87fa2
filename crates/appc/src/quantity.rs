//! Resource quantities: a decimal number with a suffix, as an early Kubernetes wrote them.

/// Text that is no quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadQuantity {
    /// It does not follow the grammar.
    #[error("quantities must be a number with an optional suffix, not {0:?}")]
    Grammar(String),
    /// It is below zero.
    #[error("{0:?} is negative")]
    Negative(String),
}

/// An amount, kept as nano-units, saturating. Rounding is always up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quantity {
    nano: u128,
    typed: String,
}

const NANO: u128 = 1_000_000_000;

impl Quantity {
    /// Reads `[+]digits[.digits][suffix]`, where the suffix is one of `n u m k M G T P E`, `Ki Mi Gi Ti Pi Ei` or an
    /// exponent such as `e3`; blanks around it do not count.
    ///
    /// # Errors
    /// See [`BadQuantity`].
    pub fn parse(text: &str) -> Result<Self, BadQuantity> {
        let typed = text.trim();
        let grammar = || BadQuantity::Grammar(typed.to_owned());
        let (negative, body) = match typed.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, typed.strip_prefix('+').unwrap_or(typed)),
        };
        let end = body.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(body.len());
        let (number, suffix) = body.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(grammar());
        }
        let (multiplier, divisor) = scale(suffix).ok_or_else(grammar)?;
        let nano = amount(whole, fraction, multiplier, divisor);
        if negative && nano > 0 {
            return Err(BadQuantity::Negative(typed.to_owned()));
        }
        Ok(Self { nano, typed: typed.to_owned() })
    }

    /// As it was typed.
    pub fn as_str(&self) -> &str {
        &self.typed
    }

    /// In whole units, rounded up, at most 2^63-1.
    pub fn value(&self) -> u64 {
        self.scaled(NANO)
    }

    /// In thousandths, rounded up, at most 2^63-1.
    pub fn milli(&self) -> u64 {
        self.scaled(NANO / 1000)
    }

    fn scaled(&self, unit: u128) -> u64 {
        u64::try_from(self.nano.div_ceil(unit).min(i64::MAX as u128)).unwrap_or(u64::MAX)
    }
}

/// What a suffix multiplies and divides by, before the nano-units.
fn scale(suffix: &str) -> Option<(u128, u128)> {
    let binary = |power: u32| Some((1_u128 << (10 * power), 1));
    let decimal = |power: u32| Some((10_u128.pow(power), 1));
    match suffix {
        "" => Some((1, 1)),
        "n" => Some((1, NANO)),
        "u" => Some((1, 1_000_000)),
        "m" => Some((1, 1000)),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = exponent.unsigned_abs().min(27);
            if exponent < 0 { Some((1, 10_u128.pow(power))) } else { decimal(power) }
        }
    }
}

fn amount(whole: &str, fraction: &str, multiplier: u128, divisor: u128) -> u128 {
    // More digits than this change nothing but the last rounding.
    let read = |digits: &str| {
        digits.bytes().fold(0_u128, |n, d| n.saturating_mul(10).saturating_add((d - b'0').into()))
    };
    let units = read(whole).saturating_mul(NANO).saturating_mul(multiplier).div_ceil(divisor);
    let shown = fraction.get(..fraction.len().min(18)).unwrap_or_default();
    let rest = read(shown).saturating_mul(NANO).saturating_mul(multiplier);
    let power = u32::try_from(shown.len()).unwrap_or(18);
    units.saturating_add(rest.div_ceil(10_u128.pow(power).saturating_mul(divisor)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_round_up() {
        for (text, value, milli) in [
            ("1000", 1000, 1_000_000),
            ("1024Ki", 1 << 20, 1_048_576_000),
            ("1.5", 2, 1500),
            ("1.5Gi", 1536 << 20, 1_610_612_736_000),
            ("0.3", 1, 300),
            ("1001m", 2, 1001),
            ("100u", 1, 1),
            ("0.1n", 1, 1),
            ("16m", 1, 16),
            ("1e3", 1000, 1_000_000),
            (" 1G ", 1_000_000_000, 1_000_000_000_000),
            ("500", 500, 500_000),
            ("0", 0, 0),
        ] {
            let found = Quantity::parse(text).unwrap();
            assert_eq!((found.value(), found.milli()), (value, milli), "{text}");
        }
    }

    #[test]
    fn large_values_saturate() {
        for text in ["8Ei", "9Ei", "10E", "1e30", "99999999999999999999999999999999999999999"] {
            assert_eq!(Quantity::parse(text).unwrap().value(), i64::MAX as u64, "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity() {
        for text in ["1K", "1MB", "0x10", "1_0", "1e", "e3", ".", "", "1.2.3", "-1", "m"] {
            Quantity::parse(text).unwrap_err();
        }
        Quantity::parse("-0").unwrap();
    }
}
