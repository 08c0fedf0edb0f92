//! How a credential gets into the program: a hidden prompt, a file, or standard input.
//! Never an argument: those are in the shell's history and in every process list.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, IsTerminal as _, Read as _};
use std::path::PathBuf;

use clap::{Args, ValueHint};
use keyhole::server::model::FieldView;
use keyhole_host_api::apps::MAX_SECRET;
use keyhole_host_api::vault::Secret;
use zeroize::Zeroizing;

use super::error::{Context as _, Error, Result};

/// Where an account's values come from.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "The account's values")]
pub struct Values {
    /// A field that is no secret, such as subdomain=acme
    #[arg(long, value_name = "NAME=VALUE")]
    pub field: Vec<String>,

    /// Read a secret field from a file, such as api_key=key.txt
    #[arg(long, value_name = "NAME=FILE", value_hint = ValueHint::FilePath)]
    pub secret_file: Vec<String>,

    /// Read the one secret field from this file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with_all = ["secret_file", "stdin"])]
    pub key_file: Option<PathBuf>,

    /// Read the secret fields from standard input, a line each, in the order of `keyhole apps show`
    #[arg(long)]
    pub stdin: bool,
}

impl Values {
    /// The names and values given by `--field`.
    pub fn plain(&self) -> Result<BTreeMap<String, String>> {
        named(&self.field, "--field", "NAME=VALUE")
    }

    /// Every value that `fields` asks for: those given by flag, then those of standard
    /// input, then, on a terminal, those that the person types.
    pub fn gather(&self, fields: &[FieldView], app: &str) -> Result<BTreeMap<String, Secret>> {
        let plain = self.plain()?;
        let files = named(&self.secret_file, "--secret-file", "NAME=FILE")?;
        let known: BTreeSet<&str> = fields.iter().map(|field| field.name.as_str()).collect();
        for name in plain.keys().chain(files.keys()) {
            if !known.contains(name.as_str()) {
                let names: Vec<&str> = known.iter().copied().collect();
                return Err(Error::usage(format!("{app} has no field '{name}'"))
                    .help(format!("its fields are {}", names.join(", "))));
            }
        }
        let mut values = BTreeMap::new();
        for field in fields {
            let name = field.name.as_str();
            match (plain.get(name), files.get(name)) {
                (Some(_), _) if field.secret => {
                    return Err(Error::usage(format!("{name} is a secret, and arguments are no place for one"))
                        .at("--field: it is in the shell's history now, and any process could read it")
                        .help(format!(
                            "leave it out to be asked for it, or use --secret-file {name}=FILE or --stdin; \
                             if that was the real one, replace it at the service"
                        )));
                }
                (Some(value), _) => {
                    values.insert(name.to_owned(), Secret::new(value.clone()));
                }
                (None, Some(path)) => {
                    values.insert(name.to_owned(), from_file(&PathBuf::from(path))?);
                }
                (None, None) => {}
            }
        }
        if let Some(path) = &self.key_file {
            let mut secrets = fields.iter().filter(|field| field.secret && !field.optional);
            match (secrets.next(), secrets.next()) {
                (Some(field), None) => {
                    values.insert(field.name.clone(), from_file(path)?);
                }
                _ => {
                    return Err(Error::usage(format!("{app} does not have exactly one secret field"))
                        .at("--key-file")
                        .help("use --secret-file NAME=FILE for each"));
                }
            }
        }
        let missing: Vec<&FieldView> = fields.iter().filter(|field| !values.contains_key(&field.name)).collect();
        if self.stdin {
            let mut lines = StdinLines::default();
            for field in missing.iter().filter(|field| field.secret) {
                match lines.next()? {
                    Some(value) => {
                        values.insert(field.name.clone(), value);
                    }
                    None if field.optional => {}
                    None => {
                        return Err(Error::usage(format!("standard input ended before the field {}", field.name))
                            .help("give one line for each secret field, in the order of `keyhole apps show`"));
                    }
                }
            }
        } else if std::io::stdin().is_terminal() {
            for field in &missing {
                if let Some(value) = ask(field)? {
                    values.insert(field.name.clone(), value);
                }
            }
        }
        for field in fields {
            if !field.optional && field.default.is_none() && !values.contains_key(&field.name) {
                let name = &field.name;
                let error = Error::usage(format!("the field {name} ({}) is missing", field.label));
                return Err(error.help(if field.secret {
                    format!("give it with --secret-file {name}=FILE or on standard input with --stdin")
                } else {
                    format!("give it with --field {name}=VALUE")
                }));
            }
        }
        Ok(values)
    }
}

fn named(pairs: &[String], flag: &str, form: &str) -> Result<BTreeMap<String, String>> {
    let mut named = BTreeMap::new();
    for pair in pairs {
        // The pair is not quoted in the error: what it holds may be a secret after all.
        let Some((name, value)) = pair.split_once('=') else {
            return Err(Error::usage(format!("a {flag} is not of the form {form}")));
        };
        if named.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(Error::usage(format!("{flag} {name} is given twice")));
        }
    }
    Ok(named)
}

/// One secret, called `what`, from a file, standard input or the person at the terminal.
/// `None` if they leave it out there.
pub fn one_secret(what: &str, file: Option<&std::path::Path>, stdin: bool) -> Result<Option<Secret>> {
    if let Some(path) = file {
        return from_file(path).map(Some);
    }
    if stdin {
        return StdinLines::default().next();
    }
    if !std::io::stdin().is_terminal() {
        return Err(Error::usage(format!("the {what} is missing")).help("give it with --secret-file FILE or --stdin"));
    }
    let value = rpassword::prompt_password(format!("{what} [none]: ")).doing("the terminal can't be read")?;
    Ok((!value.is_empty()).then(|| Secret::new(value)))
}

/// A file's content without the line end that editors add.
fn from_file(path: &std::path::Path) -> Result<Secret> {
    let read = || -> std::io::Result<Zeroizing<String>> {
        // One byte more than fits shows that it is too long; the capacity is never
        // outgrown, so no copy is left behind.
        let mut text = Zeroizing::new(String::with_capacity(MAX_SECRET + 4));
        std::fs::File::open(path)?.take(MAX_SECRET as u64 + 3).read_to_string(&mut text)?;
        Ok(text)
    };
    let text = read().map_err(Error::from).doing("the secret's file can't be read").at(path.display())?;
    Ok(Secret::new(without_line_end(&text).to_owned()))
}

#[derive(Default)]
struct StdinLines {
    line: Zeroizing<String>,
}

impl StdinLines {
    fn next(&mut self) -> Result<Option<Secret>> {
        self.line.clear();
        let read = std::io::stdin().lock().read_line(&mut self.line).doing("standard input can't be read")?;
        Ok((read > 0).then(|| Secret::new(without_line_end(&self.line).to_owned())))
    }
}

fn without_line_end(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

/// Asks the person at the terminal; hidden if it is a secret. `None` if they leave it out.
fn ask(field: &FieldView) -> Result<Option<Secret>> {
    if let Some(find) = &field.find {
        super::output::stderr_line(&format!("{} is found here: {find}", field.label));
    }
    let mut hint = String::new();
    if !field.choices.is_empty() {
        hint = format!(" ({})", field.choices.join(", "));
    }
    if let Some(default) = &field.default {
        hint = format!("{hint} [{default}]");
    } else if field.optional {
        hint = format!("{hint} [none]");
    }
    if field.lines {
        // A terminal gives one line at a time.
        eprint!("{}, the path of the file that holds it{hint}: ", field.label);
        let mut path = String::new();
        std::io::stdin().lock().read_line(&mut path).doing("the terminal can't be read")?;
        return match path.trim() {
            "" => Ok(None),
            path => from_file(std::path::Path::new(path)).map(Some),
        };
    }
    let prompt = format!("{}{hint}: ", field.label);
    let value = if field.secret {
        rpassword::prompt_password(&prompt).doing("the terminal can't be read")?
    } else {
        eprint!("{prompt}");
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).doing("the terminal can't be read")?;
        without_line_end(&line).to_owned()
    };
    Ok((!value.is_empty()).then(|| Secret::new(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_end_is_no_part_of_a_secret() {
        assert_eq!(without_line_end("abc\r\n"), "abc");
        assert_eq!(without_line_end("abc\n\n"), "abc\n");
        assert_eq!(without_line_end("abc"), "abc");
    }

    #[test]
    fn a_malformed_pair_is_not_quoted() {
        let error = named(&["sk_live_secret".into()], "--field", "NAME=VALUE").unwrap_err();
        assert!(!format!("{error:?}").contains("sk_live"));
    }
}
