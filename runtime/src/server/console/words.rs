//! What a problem says on a page. Its text is the one that programs and the command line get: what it says to do there is
//! left out, and what can be done here stands in its place. Nothing else of it is changed.

use crate::server::problem::Problem;

/// The text of a problem for who looks at a page.
pub(super) struct Said {
    pub(super) detail: String,
    pub(super) help: Option<String>,
}

pub(super) fn said(problem: &Problem) -> Said {
    if problem.is("internal") {
        let detail = "the request failed in Keyhole".to_owned();
        return Said { detail, help: Some("try again; whoever runs Keyhole finds the reason in its log".to_owned()) };
    }
    // The first clause says what is wrong, perhaps in a service's words; what to do follows.
    let (first, rest) = problem.detail.split_once("; ").unwrap_or((&problem.detail, ""));
    let detail: Vec<&str> = std::iter::once(first).chain(for_a_page(rest)).collect();
    let detail = detail.join("; ");
    let help: Vec<&str> = problem.help.as_deref().map(for_a_page).into_iter().flatten().collect();
    let cut = detail.len() < problem.detail.len() || problem.help.is_some();
    let help = match help.is_empty() {
        false => Some(help.join("; ")),
        true if cut => instead(problem).map(str::to_owned),
        true => None,
    };
    Said { detail, help }
}

/// What can be done on a page, where a command was named.
fn instead(problem: &Problem) -> Option<&'static str> {
    let by_kind = [
        ("not-there", "it may have been removed meanwhile; its list shows what there is"),
        ("not-set-up", "an admin does that, once for all members, on the app's page under Apps"),
        ("service", "try again later"),
        ("wrong", "check what you gave, and try again"),
        ("conflict", "load the page again to see how it is now"),
        ("malformed", "go back, and try again"),
    ];
    by_kind.into_iter().find_map(|(kind, help)| problem.is(kind).then_some(help))
}

/// The clauses that are for somebody who looks at a page.
fn for_a_page(text: &str) -> impl Iterator<Item = &str> {
    text.split("; ").filter(|clause| !clause.is_empty() && !names_a_command(clause))
}

/// What follows the program's name in a command. As a word of its own that is no name of one, it stands in definitions.
const COMMANDS: [&str; 24] = [
    "accounts",
    "apps",
    "audit",
    "backup",
    "build",
    "completions",
    "config",
    "data",
    "demo",
    "dev",
    "doctor",
    "inspect",
    "members",
    "passkeys",
    "restore",
    "run",
    "runs",
    "serve",
    "sessions",
    "sign-in",
    "test",
    "tokens",
    "vault",
    "workflows",
];

/// Whether a terminal or a program is needed to do what is said.
fn names_a_command(clause: &str) -> bool {
    let mut after_name = clause.split("keyhole ").skip(1);
    let a_flag = |(at, _): (usize, &str)| {
        let stands_alone = !clause[..at].ends_with(char::is_alphanumeric);
        stands_alone && clause[at + 2..].starts_with(|c: char| c.is_ascii_lowercase())
    };
    after_name.any(|after| COMMANDS.iter().any(|command| after.starts_with(command)))
        || clause.match_indices("--").any(a_flag)
        || clause.contains("/api/")
        || clause.contains("KEYHOLE_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_a_command_is_left_out_and_the_rest_stays() {
        let table = [
            (
                Problem::not_there("there is no member x; see `keyhole members list`"),
                "there is no member x",
                "its list",
            ),
            (
                Problem::not_allowed("only an admin can do that").help("ask one; GET /api/members lists them"),
                "",
                "ask one",
            ),
            (
                Problem::upstream("nothing was stored: it is down").help("wait, or store it: --no-test"),
                "",
                "try again later",
            ),
            (
                Problem::not_recorded(&std::io::Error::other("the disk is full")),
                "it was done, but could not be recorded in the audit",
                "see how it is now",
            ),
            (Problem::wrong("the service said: run it with --force"), "the service said: run it with --force", ""),
            (Problem::wrong("keyhole is missing; write keyhole = 1"), "keyhole is missing; write keyhole = 1", ""),
            (Problem::conflict("it is so; a keyhole -- well-known"), "it is so; a keyhole -- well-known", ""),
        ];
        for (problem, detail, help) in table {
            let said = said(&problem);
            assert!(said.detail.starts_with(detail), "{}", said.detail);
            assert!(!said.detail.contains("keyhole members"), "{}", said.detail);
            match help {
                "" => assert_eq!(said.help, None),
                help => assert!(said.help.as_ref().is_some_and(|text| text.contains(help)), "{:?}", said.help),
            }
        }
    }

    #[test]
    fn what_failed_inside_is_told_to_nobody_who_looks() {
        let said = said(&Problem::internal(&std::io::Error::other("/var/lib/keyhole is full")));
        let text = format!("{} {}", said.detail, said.help.unwrap_or_default());
        assert!(!text.contains("/var") && !text.contains("keyhole serve"), "{text}");
    }
}
