//! Why nobody was signed in. Each message is one that the person can be shown: it says what to do next, and of what the
//! provider said no more than a line, without a secret.

use crate::broker::{AuditError, CallError};
use crate::members::{MemberError, MemberId};
use crate::store::StoreError;

/// Longest text of the provider's that is shown, in characters.
const SHOWN: usize = 300;

/// Why nobody was signed in by OpenID Connect.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OidcError {
    /// No operator set it up.
    #[error("no OpenID provider is set up here; an operator does that with [sign_in.oidc] in the configuration file")]
    NotSetUp,
    /// An answer could be read on its way.
    #[error("'{0}' is not where an answer may come to; the operator gives keyhole serve a --public-url with https")]
    NotOverTls(String),
    /// The provider can't be asked.
    #[error("{label} can't be asked: {error}; try again, or sign in another way")]
    Unreachable {
        /// What the provider is called.
        label: String,
        /// What happened.
        error: String,
    },
    /// What the provider says of itself is not what the operator set up.
    #[error("what {label} says of itself can't be used: {error}; the operator compares it with [sign_in.oidc]")]
    Metadata {
        /// What the provider is called.
        label: String,
        /// What is wrong.
        error: String,
    },
    /// There is no such attempt.
    #[error(
        "this sign-in is over: it was finished, or begun more than 10 minutes ago, or not with this Keyhole; begin again"
    )]
    NotUnderWay,
    /// It was begun with another browser, or anew with this one.
    #[error(
        "this sign-in was not begun with this browser, or begun anew since; nobody was signed in; begin again here"
    )]
    OtherBrowser,
    /// Somebody else is signed in by now, or nobody.
    #[error("this was to connect {0}, who is not signed in with this browser any more; sign in as {0} and begin again")]
    OtherMember(MemberId),
    /// The answer is from another provider (RFC 9207).
    #[error("the answer is not from {0}; nothing was sent to it, begin again")]
    Issuer(String),
    /// The provider said no (RFC 6749, section 4.1.2.1).
    #[error("{label} did not allow it: {told}")]
    Refused {
        /// What the provider is called.
        label: String,
        /// What it said.
        told: String,
    },
    /// The answer has neither a code nor an error.
    #[error("the answer of {0} has no code; begin again")]
    NoCode(String),
    /// The token endpoint gave nothing.
    #[error("{label} gave no token: {error}")]
    Token {
        /// What the provider is called.
        label: String,
        /// What happened.
        error: String,
    },
    /// What says who it is does not hold.
    #[error(
        "what {label} says of who you are does not hold: {error}; begin again, and tell the operator if it stays so"
    )]
    Claims {
        /// What the provider is called.
        label: String,
        /// What does not.
        error: String,
    },
    /// No group gives a role here.
    #[error("you are in no group of {label} that may use Keyhole{}; ask whoever runs it", if *.groups == 0 { ", and it names none of yours" } else { "" })]
    NoGroup {
        /// What the provider is called.
        label: String,
        /// In how many one is.
        groups: usize,
    },
    /// The claim that names members is not there.
    #[error("{label} gives no {claim}, by which members are named here; ask whoever runs Keyhole")]
    NoName {
        /// What the provider is called.
        label: String,
        /// The claim.
        claim: &'static str,
    },
    /// The address is at another domain.
    #[error("your address at {label} is not of the domain whose people are members here; ask whoever runs Keyhole")]
    OtherDomain {
        /// What the provider is called.
        label: String,
    },
    /// The name can't be a member's.
    #[error(
        "{label} calls you '{name}', and a member's name has up to 63 of a-z, 0-9, '.', '_' and '-'; ask whoever runs Keyhole"
    )]
    Name {
        /// What the provider is called.
        label: String,
        /// The name.
        name: String,
    },
    /// There is a member of the name, who signs in otherwise.
    #[error(
        "there is a member {member} already, who does not sign in with {label}; if that is you, sign in another way and \
         connect {label} in Settings"
    )]
    NameTaken {
        /// The member.
        member: MemberId,
        /// What the provider is called.
        label: String,
    },
    /// Somebody of the name was a member, and was removed.
    #[error(
        "{member} was removed here; an admin adds them again with: keyhole members add {member} --invite; then connect \
         {label} in Settings"
    )]
    NameWasUsed {
        /// The member that was.
        member: MemberId,
        /// What the provider is called.
        label: String,
    },
    /// The member is bound to somebody else.
    #[error("{member} is somebody else at {label}; an admin can undo that with: keyhole members unbind {member}")]
    OtherPerson {
        /// The member.
        member: MemberId,
        /// What the provider is called.
        label: String,
    },
    /// The person is bound to somebody else.
    #[error("who you are at {label} is another member here; sign out there, and in again as yourself")]
    OtherBound {
        /// What the provider is called.
        label: String,
    },
    /// There is no member yet, and this one would be no admin.
    #[error(
        "Keyhole has no admin yet; set it up with the link that keyhole serve prints, or sign in with a group of admins"
    )]
    NoAdminYet,
    /// The system gives no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(String),
    /// The members could not be changed.
    #[error(transparent)]
    Member(#[from] MemberError),
    /// What was changed is not in the audit.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a call to the provider got no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum WireError {
    /// It would go in the clear.
    #[error("it names an address without TLS")]
    InTheClear,
    /// It did not get through.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// One short line of a text of the provider's.
pub(super) fn line(text: &str) -> String {
    crate::oauth::line(text, SHOWN)
}

/// An error with what is below it, as one short line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(source) = below {
        text += ": ";
        text += &source.to_string();
        below = source.source();
    }
    line(&text)
}
