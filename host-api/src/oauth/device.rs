//! Connecting from a machine without a browser: device authorization (RFC 8628).

use std::time::Duration;

use jiff::Timestamp;
use oauth2::{CsrfToken, StandardDeviceAuthorizationResponse};

use super::OAuth;
use super::attempt::{NewAttempt, Way};
use super::connect::{Ending, Start};
use super::error::OAuthError;
use super::wire::{Polled, Server};
use crate::accounts::Connected;
use crate::members::MemberId;
use crate::vault::Secret;

const DEVICE: &str = "device";
/// Longest time that a code is waited for.
const LONGEST: Duration = Duration::from_secs(3600);

/// A connection that goes on wherever the member has a browser.
#[derive(Clone)]
pub struct DeviceBegun {
    /// What [`OAuth::poll_device`] knows it by. Not to be shown.
    pub ticket: String,
    /// The code that the member enters.
    pub user_code: String,
    /// Where they enter it.
    pub verification_uri: String,
    /// The same with the code in it, for a link or a QR code.
    pub verification_uri_complete: Option<String>,
    /// Until when they have time.
    pub expires: Timestamp,
    /// How long to wait before the first poll.
    pub interval: Duration,
}

/// What came of asking.
pub enum DevicePoll {
    /// The member has not entered the code yet. Ask again after so long.
    Pending(Duration),
    /// The account is connected.
    Connected(Box<Connected>),
}

impl OAuth {
    /// Begins to connect an account from a machine without a browser.
    ///
    /// # Errors
    /// As [`OAuth::begin`]; and if the server gives no code.
    pub async fn begin_device(&self, by: &MemberId, start: Start) -> Result<DeviceBegun, OAuthError> {
        let ready = self.ready(by, start).await?;
        let def = ready.def()?;
        if def.device.is_none() {
            return Err(OAuthError::NoEndpoint { app: ready.app.name.clone(), what: "device_url" });
        }
        let answer = Server::new(&self.calls, def, &ready.plain, &ready.keys)?.device(&ready.scopes).await?;
        let ticket = CsrfToken::new_random_len(32).into_secret();
        let (interval, lifetime) = (answer.interval(), answer.expires_in().min(LONGEST));
        let way = Way::Device { next: Timestamp::now() + interval };
        let kept = serde_json::to_string(&answer).map_err(|_| OAuthError::Answer("what can't be kept"))?;
        let attempt = NewAttempt { ours: Some((DEVICE, Secret::new(kept))), ..ready.attempt(by, way, lifetime) };
        let expires = self.keep(&ticket, attempt).await?;
        Ok(DeviceBegun {
            ticket,
            user_code: answer.user_code().secret().clone(),
            verification_uri: answer.verification_uri().to_string(),
            verification_uri_complete: answer.verification_uri_complete().map(|uri| uri.secret().clone()),
            expires,
            interval,
        })
    }

    /// Asks the server once, and no sooner than it allows, whether `by` has entered the code.
    ///
    /// # Errors
    /// [`OAuthError::Refused`] or [`OAuthError::Expired`] if they never will; as [`OAuth::finish`].
    pub async fn poll_device(&self, by: &MemberId, ticket: &str) -> Result<DevicePoll, OAuthError> {
        let mut under_way = self.under_way(by, ticket).await?;
        let Way::Device { next } = under_way.attempt.way else { return Err(OAuthError::NotUnderWay) };
        let now = Timestamp::now();
        if next > now {
            return Ok(DevicePoll::Pending(Duration::try_from(next - now).unwrap_or_default()));
        }
        let kept = self.ours(&under_way, DEVICE)?.ok_or(OAuthError::NotUnderWay)?;
        let device: StandardDeviceAuthorizationResponse =
            serde_json::from_str(kept.expose()).map_err(|_| OAuthError::NotUnderWay)?;
        // Taken before the server is asked, so that two that poll at once ask it once.
        if !self.postpone(&mut under_way, now + device.interval()).await? {
            return Ok(DevicePoll::Pending(device.interval()));
        }
        let app = self.app(&under_way.attempt.app)?;
        let def = self.def(&app)?;
        let secrets = &under_way.secrets;
        let keys = self.keys(&app, def, &under_way.attempt.plain, |name| Ok(secrets.get(name).cloned())).await?;
        let polled = Server::new(&self.calls, def, &under_way.attempt.plain, &keys)?.poll(&device).await;
        let granted = match polled {
            Ok(Polled::Granted(granted)) => granted,
            Ok(Polled::Pending(interval)) => {
                // Longer than before where the server said `slow_down`.
                if interval > device.interval() {
                    self.postpone(&mut under_way, Timestamp::now() + interval).await?;
                }
                return Ok(DevicePoll::Pending(interval));
            }
            Err(error) => {
                if matches!(error, OAuthError::Refused(_) | OAuthError::Expired) {
                    self.consume(&under_way).await?;
                }
                return Err(error);
            }
        };
        self.consume(&under_way).await?;
        let ending = Ending::of(app, under_way.attempt, under_way.secrets);
        Ok(DevicePoll::Connected(Box::new(self.settle(by, ending, granted).await?)))
    }

    /// Asks until it is done, however it ends.
    ///
    /// # Errors
    /// As [`OAuth::poll_device`].
    pub async fn wait_device(&self, by: &MemberId, begun: &DeviceBegun) -> Result<Connected, OAuthError> {
        let mut wait = begun.interval;
        loop {
            tokio::time::sleep(wait).await;
            match self.poll_device(by, &begun.ticket).await {
                Ok(DevicePoll::Connected(connected)) => return Ok(*connected),
                Ok(DevicePoll::Pending(interval)) => wait = interval,
                Err(OAuthError::NotUnderWay) if begun.expires <= Timestamp::now() => return Err(OAuthError::Expired),
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
never_shown!(DeviceBegun);
