//! What a reload carries: variables and a command, as the control protocol has them.
//!
//! Owns which of them no process could ever have, so that they are refused before anything begins. Never looks at what is
//! there: whether a command can be found is known when it is started. Called by `requests`.

use std::collections::BTreeMap;

use crate::config::is_variable_name;
use crate::generations::Wish;

/// What a reload carries; or why no process could have it.
pub(super) fn wish(env: BTreeMap<String, String>, command: Vec<String>) -> Result<Wish, String> {
    if let Some(name) = env.keys().find(|name| !is_variable_name(name)) {
        let rule = "letters, digits, '_', '.' and '-', and does not begin with a digit";
        return Err(format!("{name:?} is no name of a variable: that is {rule}"));
    }
    if let Some((name, _)) = env.iter().find(|(_, value)| value.contains('\0')) {
        return Err(format!("the value of {name:?} holds a zero byte, which no variable can"));
    }
    if let Some(word) = command.iter().position(|word| word.contains('\0')) {
        return Err(format!("word {word} of \"command\" holds a zero byte, which no argument can"));
    }
    Ok(Wish {
        env: env.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
        command: command.into_iter().map(Into::into).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &str, value: &str, word: &str) -> Option<String> {
        wish(BTreeMap::from([(name.into(), value.into())]), vec!["server".into(), word.into()]).err()
    }

    #[test]
    fn what_no_process_could_have_is_named() {
        assert_eq!(refused("app.COLOUR-2", "a=b\n", "--id={slot}"), None);
        for name in ["", "A=B", "A B", "2A", "A\0", "Ä"] {
            let why = refused(name, "x", "y").unwrap_or_default();
            assert!(why.contains(&format!("{name:?} is no name")), "{name:?}: {why}");
        }
        assert!(refused("A", "x\0", "y").unwrap().contains("the value of \"A\""));
        assert!(refused("A", "x", "\0").unwrap().starts_with("word 1 of"));
    }
}
