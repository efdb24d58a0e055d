//! Kubernetes quantities as numbers, for comparing them with limits.
//!
//! Source: the grammar in `k8s.io/apimachinery/pkg/api/resource/quantity.go`. Values are rounded up to whole
//! thousandths, which is all that comparing processor and memory needs.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Thousandths of the unit: millicores for processors, thousandths of bytes for memory. `None` if it is no
/// quantity.
pub(crate) fn thousandths(quantity: &Quantity) -> Option<i128> {
    let text = quantity.0.trim();
    let split = text
        .char_indices()
        .find(|(at, c)| !(c.is_ascii_digit() || *c == '.' || (*at == 0 && (*c == '+' || *c == '-'))))
        .map_or(text.len(), |(at, _)| at);
    let (number, suffix) = text.split_at(split);
    let (factor, divisor) = scale(suffix)?;
    let negative = number.starts_with('-');
    let number = number.trim_start_matches(['+', '-']);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.len() > 9 || whole.len() > 18 {
        return None;
    }
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let denominator = 10_i128.pow(u32::try_from(fraction.len()).ok()?).checked_mul(divisor)?;
    let numerator = digits.checked_mul(factor)?.checked_mul(1000)?;
    let value = numerator.checked_add(denominator - 1)? / denominator;
    Some(if negative { -value } else { value })
}

/// Whole bytes of a memory or storage quantity, rounded up.
pub(crate) fn bytes(quantity: &Quantity) -> Option<u64> {
    let thousandths = thousandths(quantity).filter(|value| *value >= 0)?;
    u64::try_from((thousandths + 999) / 1000).ok()
}

/// Factor and divisor of a suffix.
fn scale(suffix: &str) -> Option<(i128, i128)> {
    const K: i128 = 1000;
    const KI: i128 = 1024;
    Some(match suffix {
        "" => (1, 1),
        "n" => (1, K * K * K),
        "u" => (1, K * K),
        "m" => (1, K),
        "k" => (K, 1),
        "M" => (K * K, 1),
        "G" => (K * K * K, 1),
        "T" => (K * K * K * K, 1),
        "P" => (K * K * K * K * K, 1),
        "E" => (K * K * K * K * K * K, 1),
        "Ki" => (KI, 1),
        "Mi" => (KI * KI, 1),
        "Gi" => (KI * KI * KI, 1),
        "Ti" => (KI * KI * KI * KI, 1),
        "Pi" => (KI * KI * KI * KI * KI, 1),
        "Ei" => (KI * KI * KI * KI * KI * KI, 1),
        exponent => {
            let power: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            let ten = 10_i128.checked_pow(power.unsigned_abs()).filter(|_| power.abs() <= 18)?;
            if power >= 0 { (ten, 1) } else { (1, ten) }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_reads_them() {
        for (text, expected) in [
            ("1", Some(1000)),
            ("500m", Some(500)),
            ("0.5", Some(500)),
            ("1Ki", Some(1_024_000)),
            ("1.5Gi", Some(1_610_612_736_000)),
            ("2e3", Some(2_000_000)),
            ("1E", Some(1_000_000_000_000_000_000_000)),
            ("-1", Some(-1000)),
            ("1n", Some(1)),
            ("", None),
            (".", None),
            ("1Kx", None),
            ("ten", None),
        ] {
            assert_eq!(thousandths(&Quantity(text.to_owned())), expected, "{text}");
        }
        assert_eq!(bytes(&Quantity("1k".to_owned())), Some(1000));
        assert_eq!(bytes(&Quantity("-1".to_owned())), None);
    }
}
