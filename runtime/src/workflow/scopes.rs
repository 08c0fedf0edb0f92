//! The scopes that a workflow's steps need of their accounts, and whether those were granted them. It warns and never
//! refuses: a service may grant what it names otherwise, or say nothing.

use std::collections::BTreeMap;
use std::ops::Range;

use keyhole_host_api::accounts::Row;

use super::file::Step;
use super::record::{PlannedLink, Workflow};
use crate::engine::is_scope;

/// Adds what the file says that a step needs to what its component says.
pub(super) fn add(step: &Step, links: &mut BTreeMap<String, PlannedLink>) -> Result<(), (Range<usize>, String)> {
    for (prop, scopes) in &step.scopes {
        let Some(link) = links.get_mut(prop) else {
            let message = format!("no account is linked to an app prop '{prop}' that could be granted scopes");
            return Err((scopes.span(), message));
        };
        if let Some(wrong) = scopes.get_ref().iter().find(|scope| !is_scope(scope)) {
            return Err((scopes.span(), format!("'{wrong}' is not one scope; list scopes one by one")));
        }
        link.scopes.extend(scopes.get_ref().iter().cloned());
    }
    Ok(())
}

/// Which of `wanted` were not granted, as far as that is known.
pub fn lacking<'s>(wanted: impl IntoIterator<Item = &'s String>, granted: Option<&[String]>) -> Vec<&'s str> {
    let Some(granted) = granted.filter(|granted| !granted.is_empty()) else { return Vec::new() };
    wanted.into_iter().filter(|scope| !granted.contains(scope)).map(String::as_str).collect()
}

/// What the owner of the workflow should know: `rows` are the accounts that they may see.
pub fn warnings(workflow: &Workflow, rows: &[Row]) -> Vec<String> {
    let warning = |row: &Row| {
        let lacking = lacking(workflow.scopes.get(row.id())?, row.scopes());
        let (nickname, id) = (row.nickname(), row.id());
        let reconnect = match *row.owner() == workflow.owner {
            true => format!("reconnect it to be asked for them: keyhole accounts reconnect {id}"),
            false => format!("its owner, {}, is asked for them when they reconnect it", row.owner()),
        };
        let scopes = lacking.join(", ");
        (!lacking.is_empty())
            .then(|| format!("the account '{nickname}' was not granted all that its steps need: {scopes}; {reconnect}"))
    };
    if workflow.scopes.is_empty() { Vec::new() } else { rows.iter().filter_map(warning).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_service_did_not_tell_is_not_called_missing() {
        let wanted = ["chat:write", "users:read"].map(str::to_owned);
        let granted = ["chat:write".to_owned()];
        assert_eq!(lacking(&wanted, Some(&granted)), ["users:read"]);
        assert_eq!(lacking(&wanted, Some(&wanted)), [""; 0]);
        assert_eq!(lacking(&wanted, Some(&[])), [""; 0]);
        assert_eq!(lacking(&wanted, None), [""; 0]);
    }
}
