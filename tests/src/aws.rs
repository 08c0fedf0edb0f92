//! AWS' own signer: in the place of an SDK, and of a server that verifies.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, UriPathNormalizationMode,
};
use aws_sigv4::sign::v4;

use crate::server::Received;

/// An access key.
#[derive(Clone, Copy)]
pub struct Key<'k> {
    /// Its id.
    pub id: &'k str,
    /// The secret.
    pub secret: &'k str,
}

/// A request that is signed.
pub struct Signed<'r> {
    /// The method.
    pub method: &'r str,
    /// The whole URL.
    pub url: &'r str,
    /// The service's name in the signature.
    pub service: &'r str,
    /// The region.
    pub region: &'r str,
    /// The headers that are signed beside those that the signer adds.
    pub headers: &'r [(String, String)],
    /// The body.
    pub body: SignableBody<'r>,
    /// When.
    pub time: SystemTime,
}

impl Signed<'_> {
    /// The headers that the signer adds.
    pub fn by(&self, key: Key<'_>) -> BTreeMap<String, String> {
        let mut settings = SigningSettings::default();
        if self.service == "s3" {
            settings.percent_encoding_mode = PercentEncodingMode::Single;
            settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
            settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        }
        let identity = Credentials::new(key.id, key.secret, None, None, "test").into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(self.region)
            .name(self.service)
            .time(self.time)
            .settings(settings)
            .build()
            .expect("all parameters")
            .into();
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let request =
            SignableRequest::new(self.method, self.url, headers, self.body.clone()).expect("a request to sign");
        let made = aws_sigv4::http_request::sign(request, &params).expect("a signature").into_parts().0;
        made.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

/// Whether `received` at `host` carries the signature that `key` makes over it, and which scope it is for.
///
/// # Errors
/// What is wrong with it.
pub fn verify(received: &Received, host: &str, key: Key<'_>) -> Result<String, String> {
    let authorization = received.header("authorization").ok_or("no signature")?;
    let part = |name: &str| {
        let (_, rest) = authorization.split_once(&format!("{name}="))?;
        Some(rest.split(',').next().unwrap_or_default().trim().to_owned())
    };
    let credential = part("Credential").ok_or("no credential")?;
    let parts: Vec<&str> = credential.split('/').collect();
    let [id, _, region, service, _] = parts[..] else { return Err(format!("the credential {credential}")) };
    if id != key.id {
        return Err(format!("the access key {id}"));
    }
    let signed = part("SignedHeaders").ok_or("no headers")?;
    let ours = ["host", "x-amz-date", "x-amz-content-sha256"];
    let headers: Vec<(String, String)> = signed
        .split(';')
        .filter(|name| !ours.contains(name))
        .map(|name| Ok((name.to_owned(), received.header(name).ok_or(format!("no header {name}"))?.to_owned())))
        .collect::<Result<_, String>>()?;
    let body = match received.header("x-amz-content-sha256") {
        Some("UNSIGNED-PAYLOAD") => SignableBody::UnsignedPayload,
        Some("STREAMING-UNSIGNED-PAYLOAD-TRAILER") => SignableBody::StreamingUnsignedPayloadTrailer,
        Some(stream) if stream.starts_with("STREAMING-") => SignableBody::Precomputed(stream.to_owned()),
        _ => SignableBody::Bytes(&received.body),
    };
    let time = received.header("x-amz-date").and_then(seconds).ok_or("no x-amz-date")?;
    let request = Signed {
        method: &received.method,
        url: &format!("https://{host}{}", received.target),
        service,
        region,
        headers: &headers,
        body,
        time: SystemTime::UNIX_EPOCH + Duration::from_secs(time),
    };
    let real = request.by(key).remove("authorization").ok_or("nothing was signed")?;
    match real == authorization {
        true => Ok(format!("{region}/{service}")),
        false => Err(format!("SignatureDoesNotMatch: {authorization} is not {real}")),
    }
}

/// Seconds since 1970 of `20260131T235959Z`.
fn seconds(text: &str) -> Option<u64> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<u64>().ok();
    let (year, month, day) = (number(0..4)?, number(4..6)?, number(6..8)?);
    let (hour, minute, second) = (number(9..11)?, number(11..13)?, number(13..15)?);
    // Howard Hinnant's days_from_civil, for years after 1970.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}
