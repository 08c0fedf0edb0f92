//! A linked account, as the step sees it. What stands here for a secret is a
//! placeholder; nothing in this module can get at the credential.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::BTreeMap;

use crate::bindings::keyhole::step::{accounts, signer};
use crate::error::placed;
use crate::http::{Client, Method, RequestBuilder};
use crate::{Error, ErrorKind, Result};

/// An account that the workflow linked to one of the step's app props.
///
/// ```no_run
/// # fn f(slack: keyhole_sdk::Account) -> keyhole_sdk::Result<()> {
/// // Starts from the app's base URL, with the credential's placeholder in place:
/// slack.post("chat.postMessage").json(&serde_json::json!({ "channel": "#general", "text": "hi" })).send()?;
/// // Or take a field and put it where the service wants it:
/// let token = slack.auth("bot_token")?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Account {
    prop: Cow<'static, str>,
    handle: accounts::Account,
    auth: OnceCell<Vec<accounts::Field>>,
    client: OnceCell<Client>,
}

impl Account {
    /// The account linked to the app prop `prop`. A field of type `Account` in
    /// the step's props does this by itself. An app prop that `configure` added can't be linked.
    ///
    /// # Errors
    /// [`ErrorKind::Access`], saying which: not declared, not linked, no access,
    /// wrong app, reconnect needed, deleted.
    #[track_caller]
    pub fn linked(prop: impl Into<Cow<'static, str>>) -> Result<Account> {
        placed(|| {
            let prop = prop.into();
            let handle = accounts::linked(&prop)?;
            Ok(Account { prop, handle, auth: OnceCell::new(), client: OnceCell::new() })
        })
    }

    /// As [`linked`](Self::linked), but `None` if the workflow links no account to the prop.
    ///
    /// # Errors
    /// As for `linked`, but for "not linked".
    #[track_caller]
    pub fn if_linked(prop: impl Into<Cow<'static, str>>) -> Result<Option<Account>> {
        placed(|| {
            let prop = prop.into();
            match accounts::linked(&prop) {
                Ok(handle) => Ok(Some(Account { prop, handle, auth: OnceCell::new(), client: OnceCell::new() })),
                Err(accounts::AccessError::NotLinked(_)) => Ok(None),
                Err(error) => Err(error.into()),
            }
        })
    }

    /// The prop that this account is linked to.
    pub fn prop(&self) -> &str {
        &self.prop
    }

    /// The app's name, such as `slack`.
    pub fn app(&self) -> String {
        self.handle.app()
    }

    /// What the account's owner calls it.
    pub fn nickname(&self) -> String {
        self.handle.nickname()
    }

    /// One field of `$auth`, such as `api_key`: a placeholder if it is secret,
    /// the value itself otherwise. Use it as you would use the real value.
    ///
    /// # Errors
    /// [`ErrorKind::Access`] if the account has no such field; the message lists those it has.
    #[track_caller]
    pub fn auth(&self, field: &str) -> Result<String> {
        placed(|| {
            let fields = self.fields();
            match fields.iter().find(|candidate| candidate.name == field) {
                Some(found) => Ok(found.value.clone()),
                None => {
                    let names: Vec<_> = fields.iter().map(|field| field.name.as_str()).collect();
                    Err(Error::new(
                        ErrorKind::Access,
                        format!(
                            "the account of prop \"{}\" has no field \"{field}\"; it has: {}",
                            self.prop,
                            names.join(", ")
                        ),
                    ))
                }
            }
        })
    }

    /// All of `$auth`, by field name.
    pub fn auth_fields(&self) -> BTreeMap<String, String> {
        self.fields().iter().map(|field| (field.name.clone(), field.value.clone())).collect()
    }

    /// A client whose requests start from what the app's definition says: base
    /// URL, headers and query, with placeholders where credentials go.
    pub fn client(&self) -> &Client {
        self.client.get_or_init(|| {
            let template = self.handle.request();
            Client::from_template(template.base_url, template.headers, template.query)
        })
    }

    /// A `GET` to `path` under the app's base URL. A whole URL works too, for
    /// links to the next page.
    pub fn get(&self, path: impl AsRef<str>) -> RequestBuilder {
        self.client().get(path)
    }

    /// A `POST` to `path` under the app's base URL.
    pub fn post(&self, path: impl AsRef<str>) -> RequestBuilder {
        self.client().post(path)
    }

    /// A `PUT` to `path` under the app's base URL.
    pub fn put(&self, path: impl AsRef<str>) -> RequestBuilder {
        self.client().put(path)
    }

    /// A `PATCH` to `path` under the app's base URL.
    pub fn patch(&self, path: impl AsRef<str>) -> RequestBuilder {
        self.client().patch(path)
    }

    /// A `DELETE` to `path` under the app's base URL.
    pub fn delete(&self, path: impl AsRef<str>) -> RequestBuilder {
        self.client().delete(path)
    }

    /// A request with any method to `path` under the app's base URL.
    pub fn request(&self, method: impl Into<Method>, path: impl AsRef<str>) -> RequestBuilder {
        self.client().request(method, path)
    }

    /// Has the host sign `message` with the account's key for a purpose that the
    /// app's definition lists, such as `request-signature`. Hash and text form
    /// (hex or base64) are the definition's.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] if the definition lists no such purpose,
    /// [`ErrorKind::Access`] if the account can no longer be used.
    #[track_caller]
    pub fn sign(&self, purpose: &str, message: impl AsRef<[u8]>) -> Result<String> {
        placed(|| Ok(signer::hmac(&self.prop, purpose, message.as_ref())?))
    }

    fn fields(&self) -> &[accounts::Field] {
        self.auth.get_or_init(|| self.handle.auth())
    }
}
