//! Sizes in the two spellings that rkt uses.

/// A number of bytes for tables: `9B`, `1.0KiB`, `10KiB`, `3.8MiB`.
pub(crate) fn iec(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut size = u128::from(bytes);
    // The unit is chosen before rounding: 1048575 bytes are 1024KiB.
    let mut divisor = 1u128;
    let mut unit = 0;
    while size >= 1024 && unit + 1 < UNITS.len() {
        size /= 1024;
        divisor *= 1024;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or_default();
    if unit == 0 {
        return format!("{bytes}{name}");
    }
    let rounded = |times: u128| (u128::from(bytes) * times * 2 + divisor) / (divisor * 2);
    if size < 10 {
        let tenths = rounded(10);
        if tenths < 100 {
            return format!("{}.{}{name}", tenths / 10, tenths % 10);
        }
    }
    format!("{}{name}", rounded(1))
}

/// A number of bytes for progress lines: `0 B`, `488 B`, `3.89 KB`, `1.07 MB`.
pub(crate) fn si(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KB", "MB", "GB", "TB", "PB", "EB"];
    let mut divisor = 1u128;
    let mut unit = 0;
    while u128::from(bytes) >= divisor * 1000 && unit + 1 < UNITS.len() {
        divisor *= 1000;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or_default();
    if unit == 0 {
        return format!("{bytes} {name}");
    }
    let hundredths = (u128::from(bytes) * 200 + divisor) / (divisor * 2);
    match hundredths {
        0..1000 => format!("{}.{:02} {name}", hundredths / 100, hundredths % 100),
        1000..10_000 => format!("{}.{} {name}", hundredths / 100, hundredths / 10 % 10),
        _ => format!("{} {name}", hundredths / 100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iec_sizes() {
        for (bytes, text) in [
            (0, "0B"),
            (9, "9B"),
            (999, "999B"),
            (1024, "1.0KiB"),
            (10_239, "10KiB"),
            (10_240, "10KiB"),
            (1_048_575, "1024KiB"),
            (1_993_728, "1.9MiB"),
            (3_997_858, "3.8MiB"),
            (999 << 20, "999MiB"),
            (1 << 30, "1.0GiB"),
            (u64::MAX, "16EiB"),
        ] {
            assert_eq!(iec(bytes), text);
        }
    }

    #[test]
    fn si_sizes() {
        for (bytes, text) in [
            (0, "0 B"),
            (488, "488 B"),
            (3_890, "3.89 KB"),
            (1_070_000, "1.07 MB"),
            (25_340_000, "25.3 MB"),
            (125_000_000, "125 MB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(si(bytes), text);
        }
    }
}
