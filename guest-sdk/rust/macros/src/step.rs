//! `#[step]`: a function becomes the exports of a component.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::meta::ParseNestedMeta;
use syn::spanned::Spanned;
use syn::{Error, FnArg, ItemFn, LitStr, Path, Result, Type};

#[derive(Default)]
pub struct Arguments {
    name: Option<LitStr>,
    version: Option<LitStr>,
    description: Option<LitStr>,
    configure: Option<Path>,
}

impl Arguments {
    pub fn parse(&mut self, meta: ParseNestedMeta) -> Result<()> {
        if meta.path.is_ident("name") {
            let name: LitStr = meta.value()?.parse()?;
            check_name(&name.value()).map_err(|problem| Error::new(name.span(), problem))?;
            self.name = Some(name);
        } else if meta.path.is_ident("version") {
            self.version = Some(meta.value()?.parse()?);
        } else if meta.path.is_ident("description") {
            self.description = Some(meta.value()?.parse()?);
        } else if meta.path.is_ident("configure") {
            self.configure = Some(meta.value()?.parse()?);
        } else {
            return Err(meta.error("not an argument of a step: use name, version, description or configure"));
        }
        Ok(())
    }
}

/// As the contract has it: `[a-z0-9-]{1,64}`.
fn check_name(name: &str) -> std::result::Result<(), &'static str> {
    let fits = name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    if fits && (1..=64).contains(&name.len()) {
        Ok(())
    } else {
        Err("a step's name is made of a-z, 0-9 and -, and has 1 to 64 of them")
    }
}

pub fn expand(arguments: Arguments, function: ItemFn) -> Result<TokenStream> {
    let signature = &function.sig;
    if let Some(token) = &signature.asyncness {
        let message = "a step's function is not async: start requests with .start() to have several under way";
        return Err(Error::new(token.span, message));
    }
    if !signature.generics.params.is_empty() {
        return Err(Error::new(signature.generics.span(), "a step's function has no generic parameters"));
    }

    let (props, call) = parameters(&function)?;
    let function_name = &signature.ident;
    let name = match &arguments.name {
        Some(name) => quote!(#name),
        None => {
            if let Ok(package) = std::env::var("CARGO_PKG_NAME") {
                check_name(&package).map_err(|problem| {
                    Error::new(
                        signature.ident.span(),
                        format!("{problem}; the package's does not fit: write name = \"..\""),
                    )
                })?;
            }
            quote!(::core::env!("CARGO_PKG_NAME"))
        }
    };
    let version = match &arguments.version {
        Some(version) => quote!(#version),
        None => quote!(::core::env!("CARGO_PKG_VERSION")),
    };
    let described = arguments.description.map(|text| text.value()).or_else(|| crate::doc_comment(&function.attrs));
    let description = match described {
        Some(text) => quote!(::core::option::Option::Some(#text)),
        None => quote!(::core::option::Option::None),
    };
    let configure = match &arguments.configure {
        Some(path) => quote_spanned!(path.span()=> ::keyhole_sdk::__private::configure(prop, &state, #path)),
        None => quote!({
            let _ = state;
            ::keyhole_sdk::__private::nothing_to_configure(&prop)
        }),
    };

    Ok(quote! {
        #function

        const _: () = {
            struct Step;

            impl ::keyhole_sdk::__private::Guest for Step {
                fn definition() -> ::std::string::String {
                    ::keyhole_sdk::__private::definition(&::keyhole_sdk::__private::About {
                        name: #name,
                        version: #version,
                        description: #description,
                        props: <#props as ::keyhole_sdk::Props>::DECLARED,
                    })
                }

                fn configure(
                    prop: ::std::string::String,
                    state: ::std::string::String,
                ) -> ::core::result::Result<::std::string::String, ::keyhole_sdk::__private::Failure> {
                    #configure
                }

                fn run(
                    input: ::keyhole_sdk::__private::Input,
                ) -> ::core::result::Result<::std::string::String, ::keyhole_sdk::__private::Failure> {
                    ::keyhole_sdk::__private::run::<#props, _, _>(input, |props, ctx| {
                        let _ = (&props, &ctx);
                        #function_name(#call)
                    })
                }
            }

            // On the host there is nobody to export to, and `run` would be a symbol like any
            // other. Naming it keeps the compiler from calling the step unused.
            #[cfg(not(target_family = "wasm"))]
            const _: fn(
                ::keyhole_sdk::__private::Input,
            ) -> ::core::result::Result<::std::string::String, ::keyhole_sdk::__private::Failure> =
                <Step as ::keyhole_sdk::__private::Guest>::run;
            #[cfg(target_family = "wasm")]
            ::keyhole_sdk::__private::export_step!(Step with_types_in ::keyhole_sdk::__private::bindings);
        };
    })
}

/// The type of the props, and how the function is called with `props` and `ctx`.
fn parameters(function: &ItemFn) -> Result<(TokenStream, TokenStream)> {
    const SHAPE: &str = "a step's function takes its props, a Ctx, either, or nothing";
    let mut props = None;
    let mut call = TokenStream::new();
    let mut has_ctx = false;
    for input in &function.sig.inputs {
        let FnArg::Typed(argument) = input else { return Err(Error::new(input.span(), SHAPE)) };
        let (ty, borrow) = match &*argument.ty {
            Type::Reference(reference) if reference.mutability.is_none() => (&*reference.elem, quote!(&)),
            ty => (ty, quote!()),
        };
        let fits = if is_ctx(ty) {
            call.extend(quote!(#borrow ctx,));
            !std::mem::replace(&mut has_ctx, true)
        } else {
            call.extend(quote!(#borrow props,));
            props.replace(quote!(#ty)).is_none()
        };
        if !fits {
            return Err(Error::new(input.span(), SHAPE));
        }
    }
    Ok((props.unwrap_or_else(|| quote!(())), call))
}

fn is_ctx(ty: &Type) -> bool {
    matches!(ty, Type::Path(path) if path.path.segments.last().is_some_and(|segment| segment.ident == "Ctx"))
}
