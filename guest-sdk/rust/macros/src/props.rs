//! `#[derive(Props)]`: a struct becomes the declaration and the reader of a step's props.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::meta::ParseNestedMeta;
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Expr, ExprLit, ExprUnary, Field, Fields, Lit, LitStr, Result, UnOp};

pub fn expand(item: &DeriveInput) -> Result<TokenStream> {
    let fields = match &item.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => fields.named.iter().collect(),
            Fields::Unit => Vec::new(),
            Fields::Unnamed(fields) => {
                return Err(Error::new(fields.span(), "props have names: use a struct with named fields"));
            }
        },
        _ => return Err(Error::new(item.ident.span(), "props are a struct with named fields")),
    };
    if !item.generics.params.is_empty() {
        return Err(Error::new(item.generics.span(), "a struct of props has no generic parameters"));
    }

    let mut declared = Vec::new();
    let mut read = Vec::new();
    let mut names = Vec::new();
    for field in fields {
        let ident = field.ident.as_ref().ok_or_else(|| Error::new(field.span(), "props have names"))?;
        let prop = Prop::of(field)?;
        if names.contains(&prop.name) {
            return Err(Error::new(field.span(), format!("another prop has the name \"{}\"", prop.name)));
        }
        declared.push(prop.declared(field));
        let ty = &field.ty;
        let name = &prop.name;
        let default = option(prop.default.as_deref());
        let value = match &prop.app {
            Some(_) => quote_spanned!(ty.span()=> <#ty as ::keyhole_sdk::AppProp>::linked(#name)?),
            None => quote_spanned!(ty.span()=> values.take::<#ty>(#name, #default)?),
        };
        read.push(quote!(#ident: #value));
        names.push(prop.name);
    }

    let struct_name = &item.ident;
    Ok(quote! {
        impl ::keyhole_sdk::Props for #struct_name {
            const DECLARED: &'static [::keyhole_sdk::__private::Declared] = &[#(#declared),*];

            fn read(values: &mut ::keyhole_sdk::__private::Values) -> ::keyhole_sdk::Result<Self> {
                let _ = &values;
                ::core::result::Result::Ok(Self { #(#read),* })
            }
        }
    })
}

/// One `#[prop(..)]`.
#[derive(Default)]
struct Prop {
    name: String,
    app: Option<LitStr>,
    scopes: Option<(Span, String)>,
    label: Option<String>,
    description: Option<String>,
    default: Option<String>,
    options: Option<String>,
    configure: bool,
    secret: bool,
}

impl Prop {
    fn of(field: &Field) -> Result<Prop> {
        let mut prop = Prop::default();
        for attribute in &field.attrs {
            if attribute.path().is_ident("prop") {
                attribute.parse_nested_meta(|meta| prop.parse(meta))?;
            }
        }
        if prop.name.is_empty() {
            // `r#type` is the prop `type`.
            prop.name = field.ident.as_ref().map(|ident| ident.to_string()).unwrap_or_default();
            if let Some(plain) = prop.name.strip_prefix("r#") {
                prop.name = plain.to_owned();
            }
        }
        if prop.description.is_none() {
            prop.description = crate::doc_comment(&field.attrs);
        }
        if let (Some((span, _)), None) = (&prop.scopes, &prop.app) {
            return Err(Error::new(*span, "scopes are an app prop's: name the app, such as app = \"slack\""));
        }
        if let Some(app) = &prop.app
            && (prop.default.is_some() || prop.options.is_some() || prop.secret || prop.configure)
        {
            return Err(Error::new(app.span(), "an app prop has no default, no options, no secret and no configure"));
        }
        Ok(prop)
    }

    fn parse(&mut self, meta: ParseNestedMeta) -> Result<()> {
        let text = |meta: &ParseNestedMeta| Ok::<_, Error>(meta.value()?.parse::<LitStr>()?.value());
        if meta.path.is_ident("app") {
            let app: LitStr = meta.value()?.parse()?;
            if app.value().is_empty() {
                return Err(Error::new(app.span(), "name the app, such as \"slack\""));
            }
            self.app = Some(app);
        } else if meta.path.is_ident("scopes") {
            let list: Expr = meta.value()?.parse()?;
            let text = |item: &Expr| matches!(item, Expr::Lit(ExprLit { lit: Lit::Str(_), .. }));
            if !matches!(&list, Expr::Array(array) if array.elems.iter().all(text)) {
                return Err(Error::new(list.span(), "scopes are a list of texts: [\"chat:write\"]"));
            }
            self.scopes = Some((list.span(), json(&list)?));
        } else if meta.path.is_ident("name") {
            self.name = text(&meta)?;
            if self.name.is_empty() {
                return Err(meta.error("a prop's name can't be empty"));
            }
        } else if meta.path.is_ident("label") {
            self.label = Some(text(&meta)?);
        } else if meta.path.is_ident("description") {
            self.description = Some(text(&meta)?);
        } else if meta.path.is_ident("default") {
            self.default = Some(json(&meta.value()?.parse()?)?);
        } else if meta.path.is_ident("options") {
            let list: Expr = meta.value()?.parse()?;
            if !matches!(list, Expr::Array(_)) {
                return Err(Error::new(list.span(), "options are a list: [\"a\", \"b\"]"));
            }
            self.options = Some(json(&list)?);
        } else if meta.path.is_ident("configure") {
            self.configure = true;
        } else if meta.path.is_ident("secret") {
            self.secret = true;
        } else {
            return Err(meta.error(
                "not part of a prop: use app, scopes, default, description, label, name, options, configure or secret",
            ));
        }
        Ok(())
    }

    /// A `keyhole_sdk::__private::Declared`.
    fn declared(&self, field: &Field) -> TokenStream {
        let ty = &field.ty;
        let name = &self.name;
        let app = option(self.app.as_ref().map(LitStr::value).as_deref());
        let scopes = option(self.scopes.as_ref().map(|(_, list)| list.as_str()));
        let label = option(self.label.as_deref());
        let description = option(self.description.as_deref());
        let default = option(self.default.as_deref());
        let options = option(self.options.as_deref());
        let (configure, secret) = (self.configure, self.secret);
        let (kind, optional) = match &self.app {
            Some(_) => (
                quote!(::keyhole_sdk::__private::Kind { name: "app", list: false }),
                quote_spanned!(ty.span()=> <#ty as ::keyhole_sdk::AppProp>::OPTIONAL),
            ),
            None => (
                quote_spanned!(ty.span()=> <#ty as ::keyhole_sdk::PropType>::KIND),
                quote_spanned!(ty.span()=> <#ty as ::keyhole_sdk::PropType>::OPTIONAL),
            ),
        };
        quote!(::keyhole_sdk::__private::Declared {
            name: #name,
            kind: #kind,
            app: #app,
            scopes: #scopes,
            label: #label,
            description: #description,
            optional: #optional,
            default: #default,
            options: #options,
            configure: #configure,
            secret: #secret,
        })
    }
}

fn option(text: Option<&str>) -> TokenStream {
    match text {
        Some(text) => quote!(::core::option::Option::Some(#text)),
        None => quote!(::core::option::Option::None),
    }
}

/// A literal as JSON, so that the declaration is data in the component.
fn json(expression: &Expr) -> Result<String> {
    match expression {
        Expr::Lit(ExprLit { lit, .. }) => match lit {
            Lit::Str(text) => Ok(json_string(&text.value())),
            Lit::Bool(flag) => Ok(flag.value.to_string()),
            Lit::Int(number) => Ok(number.base10_digits().to_owned()),
            Lit::Float(number) => Ok(json_float(number.base10_digits())),
            other => Err(Error::new(other.span(), NO_LITERAL)),
        },
        Expr::Unary(ExprUnary { op: UnOp::Neg(_), expr, .. }) if matches!(&**expr, Expr::Lit(_)) => {
            Ok(format!("-{}", json(expr)?))
        }
        Expr::Array(list) => {
            let items = list.elems.iter().map(json).collect::<Result<Vec<_>>>()?;
            Ok(format!("[{}]", items.join(",")))
        }
        other => Err(Error::new(other.span(), NO_LITERAL)),
    }
}

const NO_LITERAL: &str = "write it as a literal: a string, a number, true or false, or a list of these in [ ]";

/// JSON has no `1.`.
fn json_float(digits: &str) -> String {
    if digits.ends_with('.') { format!("{digits}0") } else { digits.to_owned() }
}

/// RFC 8259, section 7.
fn json_string(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            control if control < ' ' => json.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => json.push(other),
        }
    }
    json.push('"');
    json
}
