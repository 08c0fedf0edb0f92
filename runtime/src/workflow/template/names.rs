//! What a template names, held against what there will be, as far as its text shows it.

use super::{At, ROOTS, TemplateError, dollar_name, environment, quoted, rewritten};

/// What is known of `workflow` and `run`.
const KNOWN: [(&str, &[&str]); 2] = [("workflow", &["name", "owner"]), ("run", &["id"])];
/// What the host keeps of a step besides its exports: what it returned, and the request that ended its wait.
const KEPT: [&str; 2] = ["$return_value", "$resume_data"];
/// What a name begins with that is written as its bytes in hex.
const HEX: &str = "hex_";

/// Checks that `text` names only what there will be. `earlier` are the steps before its own.
pub(super) fn check(text: &str, earlier: &[&str]) -> Result<(), TemplateError> {
    let environment = environment();
    let named = |text: &str| Some(environment.template_from_str(text).ok()?.undeclared_variables(true));
    // `x in['a']` is no index, and can't be read as one.
    let Some(named) = named(&dotted(text)).or_else(|| named(&quoted(text))) else { return Ok(()) };
    let mut named: Vec<_> = named.into_iter().collect();
    named.sort_unstable();
    for name in named {
        let parts: Vec<String> = name.split('.').map(decoded).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let (wrong, at) = match parts.as_slice() {
            ["steps", step, ..] if !earlier.contains(step) => {
                let there = match earlier {
                    [] => "; it is the first".to_owned(),
                    names => format!("; there are {}", names.join(", ")),
                };
                (format!("no step before this one is called `{step}`{there}"), step)
            }
            ["steps", step, left, ..] => match misspelt(left) {
                Some(meant) => (format!("`{step}` leaves no `{left}`; did you mean `{meant}`?"), left),
                None => continue,
            },
            ["steps", ..] => continue,
            [root, rest @ ..] => match (KNOWN.iter().find(|(known, _)| known == root), rest) {
                (Some((_, known)), [key, ..]) if !known.contains(key) => {
                    let there: Vec<_> = known.iter().map(|known| format!("`{root}.{known}`")).collect();
                    (format!("there is no `{root}.{key}`; there is {}", there.join(" and ")), key)
                }
                _ if ROOTS.contains(root) || environment.globals().any(|(name, _)| name == *root) => continue,
                _ => (format!("there is no `{root}`; a template begins with {}", ROOTS.join(", ")), root),
            },
            [] => continue,
        };
        // It is a difference to the language, of two names that are not there.
        let less = earlier.iter().find(|step| step.contains('-') && text.contains(&format!("steps.{step}")));
        return Err(match less {
            Some(step) => TemplateError {
                at: At::Name(format!("steps.{step}")),
                ..TemplateError::new(format!("a name with `-` stands in brackets: steps['{step}']"))
            },
            None => TemplateError { at: At::Name((*at).to_owned()), ..TemplateError::new(wrong) },
        });
    }
    Ok(())
}

/// Which of what the host keeps is meant by a name that is almost the same. Any other may be that of an export.
fn misspelt(left: &str) -> Option<&'static str> {
    KEPT.into_iter().find(|kept| (1..=2).contains(&strsim::damerau_levenshtein(kept, left)))
}

/// `steps['a'].$b` as `steps.a.hex_2462`: the language tells which names are read after which if dots stand between them.
fn dotted(text: &str) -> String {
    rewritten(text, |code, out| {
        if let Some(name) = dollar_name(code) {
            encode(name, out);
            return Some(1 + name.len());
        }
        let index = code.strip_prefix('[')?;
        let mark = index.chars().next().filter(|mark| matches!(mark, '"' | '\''))?;
        let (name, rest) = index[1..].split_once(mark)?;
        let is_index = out.ends_with(|before: char| before.is_alphanumeric() || matches!(before, '_' | ']' | ')'));
        if !is_index || name.is_empty() || name.contains('\\') || !rest.starts_with(']') {
            return None;
        }
        encode(name, out);
        Some(code.len() - rest.len() + 1)
    })
}

fn encode(name: &str, out: &mut String) {
    out.push('.');
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && !name.starts_with(HEX);
    match is_name {
        true => out.push_str(name),
        false => {
            out.push_str(HEX);
            out.push_str(&data_encoding::HEXLOWER.encode(name.as_bytes()));
        }
    }
}

fn decoded(name: &str) -> String {
    let bytes = name.strip_prefix(HEX).and_then(|hex| data_encoding::HEXLOWER.decode(hex.as_bytes()).ok());
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_else(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::Template;
    use super::*;

    fn check(text: &str, earlier: &[&str]) -> Result<(), TemplateError> {
        Template::parse(text).and_then(|template| template.check(earlier))
    }

    #[test]
    fn an_earlier_step_must_have_the_name() {
        for taken in [
            "{{ steps.a.$return_value.x }}",
            "{{ steps['a'][\"$return_value\"].x }}",
            "{{ steps['my-step'].x }}",
            "{{ steps['my-step'].$return_value }}",
            "{{ steps.a.$summary }} {{ steps['a']['$x'] }}",
            "{{ steps.a.anything }} {{ steps.a.$resume_data.query.x }}",
            "{{ steps[event.name] }}",
            "{{ event.x in['a', 'b'] }}",
            "{{ event['steps']['nosuch'].$x }}",
            "{{ run.id }} {{ workflow.owner }}/{{ workflow['name'] }} {{ range(3) }}",
            "{% for tag in event.body.tags %}{{ tag }}{{ loop.index }}{% endfor %}",
            "{% set steps = {'b': 1} %}{{ steps.b }}",
            "steps.nosuch, {{ 'steps.nosuch' }}",
        ] {
            assert_eq!(check(taken, &["a", "my-step"]), Ok(()), "{taken}");
        }
        for (refused, told) in [
            ("{{ steps.b.$return_value.x }}", "no step before this one is called `b`; there are a, my-step"),
            ("{{ steps['nosuch'].x }}", "no step before this one is called `nosuch`"),
            ("{{ event.x + steps[\"no.such\"].x }}", "is called `no.such`"),
            ("{{ steps.a.$retrun_value }}", "`a` leaves no `$retrun_value`"),
            ("{{ steps['a']['$resume_dat'].x }}", "`a` leaves no `$resume_dat`; did you mean `$resume_data`?"),
            ("{{ run.idd }}", "there is no `run.idd`; there is `run.id`"),
            (
                "{{ workflow.nmae | upper }}",
                "there is no `workflow.nmae`; there is `workflow.name` and `workflow.owner`",
            ),
            ("{{ steps.my-step.x }}", "a name with `-` stands in brackets: steps['my-step']"),
            ("{{ environment }}", "there is no `environment`"),
        ] {
            let said = check(refused, &["a", "my-step"]).unwrap_err().to_string();
            assert!(said.contains(told), "{refused}: {said}");
        }
        assert!(check("{{ steps.b }}", &[]).unwrap_err().to_string().ends_with("it is the first"));
    }

    #[test]
    fn the_place_is_that_of_the_name() {
        let error = check("Hi run, {{ run.id }} {{ workflow.nmae }}", &[]).unwrap_err();
        assert_eq!(error.place_in("\"nmae {{ run.id }} {{ workflow.nmae }}\""), 31);
    }
}
