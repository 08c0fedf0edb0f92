//! The macros of `keyhole-sdk`, which documents them. Expansions name nothing but
//! `::keyhole_sdk`, so that a step needs no other dependency.

mod props;
mod step;

use proc_macro::TokenStream;
use syn::parse_macro_input;

/// See `keyhole_sdk::step`.
#[proc_macro_attribute]
pub fn step(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let mut parsed = step::Arguments::default();
    let parser = syn::meta::parser(|meta| parsed.parse(meta));
    parse_macro_input!(arguments with parser);
    let function = parse_macro_input!(item as syn::ItemFn);
    step::expand(parsed, function).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// See `keyhole_sdk::Props`.
#[proc_macro_derive(Props, attributes(prop))]
pub fn props(item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as syn::DeriveInput);
    props::expand(&item).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// The doc comment among `attributes`, its lines joined as Markdown would join them.
fn doc_comment(attributes: &[syn::Attribute]) -> Option<String> {
    let mut text = String::new();
    for attribute in attributes {
        if let syn::Meta::NameValue(pair) = &attribute.meta
            && pair.path.is_ident("doc")
            && let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(line), .. }) = &pair.value
        {
            let line = line.value();
            let line = line.trim();
            match (line.is_empty(), text.is_empty() || text.ends_with('\n')) {
                (true, true) => {}
                (true, false) => text.push('\n'),
                (false, true) => text.push_str(line),
                (false, false) => {
                    text.push(' ');
                    text.push_str(line);
                }
            }
        }
    }
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}
