//! `keyhole inspect`: what a component is, before anyone runs it.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueHint};
use keyhole::engine::{self, Definition, Digest, Inspection, Step};
use serde_json::json;

use super::error::{Context as _, Error, Result};
use super::output::{self, style};
use super::run;
use super::settings::Settings;

/// Show a component's definition, props, imports and size
#[derive(Args, Debug)]
pub struct Inspect {
    /// The component, or the folder to build it from
    #[arg(value_name = "COMPONENT", value_hint = ValueHint::AnyPath)]
    component: PathBuf,
}

impl Inspect {
    /// Looks into it, and fails if it can't be deployed.
    pub async fn run(self, settings: &Settings) -> Result {
        let bytes = run::component(&self.component, settings.out).await?;
        let inspection = engine::inspect(&bytes).at(self.component.display())?;
        let looked = look_into(&bytes).await;
        let problem = looked.as_ref().err().map(|error| error.message().to_owned());
        let definition = looked.as_ref().ok().map(|step| &step.definition);
        let document = json!({
            "size": inspection.size,
            "digest": Digest::of(&bytes).to_string(),
            "definition": definition,
            "imports": inspection.imports,
            "forbidden": inspection.forbidden,
            "exports": inspection.exports,
            "contract": inspection.contract,
            "made_by": inspection.made_by,
            "problem": problem,
        });
        settings.out.either(&document, || text(&inspection, definition, &Digest::of(&bytes)))?;
        match looked {
            Ok(_) => Ok(()),
            Err(_) if settings.out.json => Err(Error::said()),
            Err(error) => Err(error.at(self.component.display())),
        }
    }
}

/// The step in these bytes, or why they are none.
pub async fn look_into(bytes: &[u8]) -> Result<Arc<Step>> {
    let engine = run::engine(None)?;
    Ok(engine.load(bytes.to_vec().into()).await?)
}

fn text(inspection: &Inspection, definition: Option<&Definition>, digest: &Digest) -> String {
    let bold = style::BOLD;
    let lines = |items: &[String]| if items.is_empty() { "none".to_owned() } else { items.join("\n") };
    let mut about = vec![("size", output::size(inspection.size as u64)), ("digest", digest.to_string())];
    if !inspection.made_by.is_empty() {
        about.push(("made by", output::visible(&inspection.made_by.join(", ")).into_owned()));
    }
    if let Some(contract) = &inspection.contract {
        about.push(("contract", format!("keyhole:step@{}", output::visible(contract))));
    }
    about.push(("imports", output::visible(&lines(&inspection.imports)).into_owned()));
    if !inspection.forbidden.is_empty() {
        let forbidden = output::visible(&lines(&inspection.forbidden)).into_owned();
        about.push(("forbidden", format!("{}{forbidden}{:#}", style::BAD, style::BAD)));
    }
    about.push(("exports", output::visible(&lines(&inspection.exports)).into_owned()));
    let about = output::pairs(&about);
    let Some(definition) = definition else { return about };

    let mut text = format!("{bold}{}{bold:#} {}", definition.name, definition.version);
    if let Some(description) = &definition.description {
        text += &format!("\n{}", output::visible(description));
    }
    text += &format!("\n\n{about}\n");
    if definition.props.is_empty() {
        return text + "It takes no props.";
    }
    let mut table = output::table(&["prop", "type", "", "default", "what it is"]);
    for (name, prop) in &definition.props {
        let kind = match &prop.app {
            Some(app) => format!("account of {}", output::visible(app)),
            None => prop.kind.to_string(),
        };
        let optional = if prop.optional { "optional" } else { "" };
        let default = prop.default.as_ref().map(|value| output::one_line(&value.to_string(), 40)).unwrap_or_default();
        let what = [&prop.label, &prop.description].into_iter().flatten().map(|text| output::one_line(text, 200));
        table.add_row([name.clone(), kind, optional.to_owned(), default, what.collect::<Vec<_>>().join(": ")]);
    }
    text + &output::table_text(&mut table)
}
