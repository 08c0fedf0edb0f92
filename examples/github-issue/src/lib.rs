//! Opens an issue on GitHub, unless one with that title is open.
use keyhole_sdk::prelude::*;
use keyhole_sdk::{Choices, Configure};

#[derive(Props)]
struct Input {
    #[prop(app = "github")]
    github: Account,
    /// Such as `octocat/hello-world`.
    #[prop(configure)]
    repo: String,
    title: String,
    body: Option<String>,
    #[prop(default = [], description = "Labels that the repository knows.")]
    labels: Vec<String>,
}

/// Opens an issue, unless one with that title is open.
#[keyhole_sdk::step(name = "github-issue", configure = repositories)]
fn run(input: Input, ctx: Ctx) -> Result<Value> {
    let issues = format!("repos/{}/issues", input.repo);
    let open: Vec<Value> = input
        .github
        .get(&issues)
        .query(&[("state", "open"), ("per_page", "100")])
        .send()?
        .error_for_status()?
        .json()?;
    if let Some(issue) = open.into_iter().find(|issue| issue["title"] == input.title.as_str()) {
        ctx.info(format!("already open: {}", issue["html_url"]));
        return Ok(issue);
    }
    let issue = json!({ "title": input.title, "body": input.body, "labels": input.labels });
    let created: Value = input.github.post(&issues).json(&issue).send()?.error_for_status()?.json()?;
    ctx.export("url", &created["html_url"])?;
    Ok(created)
}

/// The repositories of the linked account, newest activity first.
fn repositories(ask: Configure) -> Result<Choices> {
    let repos: Vec<Value> =
        ask.account("github")?.get("user/repos").query(&[("sort", "pushed")]).send()?.error_for_status()?.json()?;
    Ok(Choices::options(repos.iter().filter_map(|repo| repo["full_name"].as_str())))
}
