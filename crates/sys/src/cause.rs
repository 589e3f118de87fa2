//! An error in words.

use std::error::Error;

/// An error and all its causes in one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::PathError;

    #[test]
    fn causes_follow_what_they_caused() {
        let error = PathError::new("open", "/x", rustix::io::Errno::NOENT);
        assert!(chain(&error).starts_with(&error.to_string()));
        assert_eq!(chain(&std::fmt::Error), std::fmt::Error.to_string());
    }
}
