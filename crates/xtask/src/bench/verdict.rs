//! Figures beside their limits.

use crate::error::TaskError;
use crate::say;

/// What was measured against its limits, in the order of measuring.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    over: Vec<String>,
}

impl Verdict {
    /// A figure that may not be larger than its limit; smaller than the aim would be better still.
    pub(crate) fn most(&mut self, what: &str, got: f64, limit: f64, aim: Option<f64>) {
        // A figure that is not a number is within no limit.
        let held = got <= limit;
        let word = if !held {
            "OVER"
        } else if aim.is_none_or(|aim| got <= aim) {
            "ok"
        } else {
            "ok, over the aim"
        };
        let aim = aim.map(|aim| format!(" (aim {aim:.2})")).unwrap_or_default();
        let line = format!("{what:<58}{got:>9.2} <= {limit:.2}{aim}");
        say::line(&format!("{line:<90}{word}"));
        if !held {
            self.over.push(line);
        }
    }

    /// Shows a figure that has no limit.
    pub(crate) fn show(what: &str, got: f64) {
        say::line(&format!("{what:<58}{got:>9.2}"));
    }

    /// Fails if a limit was not held.
    pub(crate) fn end(self) -> Result<(), TaskError> {
        if self.over.is_empty() {
            return Ok(());
        }
        Err(TaskError::Broken { rule: "over the limit", found: self.over })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_within_its_limit_passes() {
        let mut verdict = Verdict::default();
        verdict.most("a", 1.0, 1.0, None);
        verdict.most("b", 1.0, 2.0, Some(0.5));
        verdict.end().unwrap();
        for bad in [1.1, f64::NAN] {
            let mut verdict = Verdict::default();
            verdict.most("c", bad, 1.0, None);
            assert!(verdict.end().unwrap_err().to_string().contains('c'));
        }
    }
}
