//! Who calls, and what they may do: the one place where that is decided.
//!
//! A caller is a member, by their token, or whoever can open the data directory, who could
//! change everything in it anyway. Whether an *account* may be seen, used or changed is
//! decided where accounts are kept, for every caller alike; what is decided here is on whose
//! behalf a call is, and what roles add to that.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use keyhole_host_api::members::{Member, MemberId, Role};
use keyhole_host_api::tokens::KeyId;
use keyhole_host_api::vault::Secret;

use super::Api;
use super::problem::Problem;

/// Put into a request's extensions by a program that has the data directory open itself. No
/// request from the network can carry it.
#[derive(Clone, Debug)]
pub struct LocalOperator {
    /// On whose behalf the call is, where it is on a member's.
    pub acting_as: Option<MemberId>,
}

/// Who calls.
#[derive(Clone, Debug)]
pub enum Caller {
    /// A member, what proved it, and where they are.
    Member(Member, Proof, Peer),
    /// Whoever has the data directory.
    Operator(LocalOperator),
}

/// What a member proved with who they are.
#[derive(Clone, Debug)]
pub enum Proof {
    /// The token with this id.
    Token(KeyId),
    /// The console's session with this id.
    Session(KeyId),
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(id) => write!(f, "token {id}"),
            Self::Session(id) => write!(f, "session {id}"),
        }
    }
}

/// What is asked for, where that is not an account's own matter.
#[derive(Clone, Copy, Debug)]
pub enum Act<'a> {
    /// To know who the members are: whoever grants access must.
    SeeMembers,
    /// To add or remove a member, or change what they may do.
    ChangeMembers,
    /// To exchange the master key, to take a backup and to put one back, to remove what the audit has of old.
    KeepStore,
    /// To set the OAuth client by which all members connect.
    ChangeApps,
    /// To see the whole audit, not only what concerns oneself, and whether it is as it was written.
    SeeAllAudit,
    /// To make a token for this member, or a link that signs them in. It will speak for them, so not even an admin can
    /// for anyone else: it would let them use that member's accounts.
    CreateTokenFor(&'a MemberId),
    /// To see and revoke every member's tokens.
    SeeAllTokens,
    /// To see that others' workflows exist, to turn them off and to delete them.
    KeepWorkflows,
    /// To look into data stores and change what is in them, which are the workspace's.
    UseData,
    /// To hand over a component, which does nothing by itself.
    AddComponents,
}

impl Caller {
    /// Whether the caller may.
    pub fn may(&self, act: Act<'_>) -> bool {
        let Self::Member(member, ..) = self else { return true };
        match act {
            Act::SeeMembers | Act::UseData | Act::AddComponents => true,
            Act::CreateTokenFor(whom) => *whom == member.id,
            Act::ChangeMembers
            | Act::ChangeApps
            | Act::KeepStore
            | Act::SeeAllAudit
            | Act::SeeAllTokens
            | Act::KeepWorkflows => member.role == Role::Admin,
        }
    }

    /// Refuses what the caller may not. Asked before anything is looked up, so that the
    /// answer tells nothing of what is there.
    ///
    /// # Errors
    /// A problem that says who could.
    pub fn must(&self, act: Act<'_>) -> Result<(), Problem> {
        if self.may(act) {
            return Ok(());
        }
        Err(match act {
            Act::CreateTokenFor(_) => Problem::not_allowed("a token can be made for nobody but yourself")
                .help("whoever has the data directory makes others' first one: keyhole tokens create --as MEMBER"),
            _ => Problem::not_allowed("only an admin can do that").help("ask one; GET /api/members lists them"),
        })
    }

    /// The caller as they are now, in a call that takes long. `None` once what they proved it with is not valid any more.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn again(&self, api: &Api) -> Result<Option<Self>, Problem> {
        match self {
            Self::Member(_, proof, peer) => {
                let member = match proof {
                    Proof::Token(id) => api.tokens.bearer(id).await?,
                    Proof::Session(id) => api.sessions.bearer(id).await?,
                };
                Ok(member.map(|member| Self::Member(member, proof.clone(), *peer)))
            }
            Self::Operator(_) => Ok(Some(self.clone())),
        }
    }

    /// The member on whose behalf the call is, with what they are since when: more than a name, which may have been
    /// another's.
    ///
    /// # Errors
    /// If a program on the data directory does not say, or names nobody; whatever the store says.
    pub async fn bearer(&self, api: &Api) -> Result<Member, Problem> {
        match self {
            Self::Member(member, ..) => Ok(member.clone()),
            Self::Operator(_) => {
                let id = self.member()?;
                let found = api.members.get(id).await?;
                found.ok_or_else(|| Problem::not_there(format!("there is no member '{id}'")))
            }
        }
    }

    /// On whose behalf the call is.
    ///
    /// # Errors
    /// If a program on the data directory does not say.
    pub fn member(&self) -> Result<&MemberId, Problem> {
        match self {
            Self::Member(member, ..) => Ok(&member.id),
            Self::Operator(LocalOperator { acting_as: Some(member) }) => Ok(member),
            Self::Operator(LocalOperator { acting_as: None }) => {
                Err(Problem::wrong("it is not said on whose behalf").help("add --as MEMBER"))
            }
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // Not there only if a route was left out of `authenticate`: refused all the same.
        parts.extensions.get::<Self>().cloned().ok_or_else(unknown)
    }
}

/// Finds out who calls, and lets nobody past who does not say.
pub async fn authenticate(State(api): State<Arc<Api>>, peer: Peer, mut request: Request, next: Next) -> Response {
    let operator = request.extensions().get::<LocalOperator>().cloned();
    // Wiped like any credential.
    let text = bearer(request.headers()).map(|text| Secret::new(text.to_owned()));
    let caller = match operator {
        Some(operator) => Ok(Caller::Operator(operator)),
        None => identify(&api, text, peer).await,
    };
    match caller {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

async fn identify(api: &Api, token: Option<Secret>, peer: Peer) -> Result<Caller, Problem> {
    let has_one = token.is_some();
    if let Some(text) = token
        && let Some((member, id)) = api.tokens.verify(text.expose()).await?
    {
        return Ok(Caller::Member(member, Proof::Token(id), peer));
    }
    // Counted after the check, and against failures alone: nobody guesses 256 bits, and
    // whoever has a valid token must not be kept out by a neighbour behind the same address.
    match has_one {
        true => api.failed_to("authenticate", peer, "token", NOT_VALID).await?,
        false => api.failed.note(peer.0)?,
    }
    Err(unknown())
}

/// What the audit says of a token that is none.
pub(super) const NOT_VALID: &str = "the token is not valid, or no longer";

/// One answer, whether there was no token, a wrong one, an expired or a revoked one.
pub(super) fn unknown() -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "token",
        "A valid token is needed",
        "there is no token with the request, or it is not valid, or no longer",
    )
    .help("send Authorization: Bearer TOKEN; make one with: keyhole tokens create")
}

/// The token of `Authorization: Bearer` (RFC 6750, section 2.1). Two such headers are none.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start_matches(' '))
}

/// Where the request is from.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

impl Peer {
    /// The address, if the request came over the network.
    pub fn address(self) -> Option<IpAddr> {
        Some(self.0).filter(|address| !address.is_unspecified())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let info = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        Ok(Self(info.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(address)| address.ip())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bearer_header_is_read_and_nothing_else() {
        let with = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, value.parse().unwrap());
            }
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(with(&["Bearer abc"]).as_deref(), Some("abc"));
        assert_eq!(with(&["bearer  abc"]).as_deref(), Some("abc"));
        assert_eq!(with(&["Bearer abc", "Bearer abc"]), None);
        for other in ["abc", "Basic YWJj", "Bearer", "Bearerabc"] {
            assert_eq!(with(&[other]), None, "{other}");
        }
    }
}
