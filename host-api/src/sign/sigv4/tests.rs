//! Against what AWS publishes, and against AWS' own signer.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, UriPathNormalizationMode,
};
use aws_sigv4::sign::v4;
use http::{HeaderName, HeaderValue, header};
use jiff::Timestamp;
use proptest::prelude::*;

use super::*;

const ID: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const PLACEHOLDER_ID: &str = "AKIAkhp1AbCdEfGhIjKlMnOpQrStUvWxYz012345";
const PLACEHOLDER_SECRET: &str = "khp1AbCdEfGhIjKlMnOpQrStUvWxYz0123456789";

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let pair =
        |(name, value): &(&str, &str)| (HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap());
    pairs.iter().map(pair).collect()
}

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

/// A request, as AWS' own signer signs it.
#[derive(Debug)]
struct Signed {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Signed {
    /// Signs with this key, which replaces what was signed before.
    fn sign(mut self, service: &str, id: &str, secret: &str, now: Timestamp) -> Self {
        let mut settings = SigningSettings::default();
        if service == "s3" {
            settings.percent_encoding_mode = PercentEncodingMode::Single;
            settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
            settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        }
        let identity = Credentials::new(id, secret, None, None, "test").into();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_second().unsigned_abs());
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region("eu-west-3")
            .name(service)
            .time(time)
            .settings(settings)
            .build()
            .unwrap()
            .into();
        let made: Vec<(String, String)> = {
            let given = self.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
            let body = SignableBody::Bytes(&self.body);
            let request = SignableRequest::new(self.method.as_str(), self.url.as_str(), given, body).unwrap();
            let made = aws_sigv4::http_request::sign(request, &params).unwrap().into_parts().0;
            made.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
        };
        for (name, value) in made {
            self.headers.insert(HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap());
        }
        self
    }

    fn request(&self) -> Signable<'_> {
        Signable { method: &self.method, url: &self.url, headers: &self.headers, body: Some(&self.body) }
    }

    fn claim(&self) -> Claim {
        Claim::parse(self.headers[header::AUTHORIZATION].to_str().unwrap()).unwrap()
    }

    fn unsigned(&self) -> Self {
        let mut headers = self.headers.clone();
        for name in ["authorization", "x-amz-date", "x-amz-content-sha256"] {
            headers.remove(name);
        }
        Self { method: self.method.clone(), url: self.url.clone(), headers, body: self.body.clone() }
    }
}

prop_compose! {
    /// Paths and queries as SDKs write them, and headers with blanks in odd places.
    fn requests()(
        segments in prop::collection::vec("[a-zA-Z0-9._~ /%+=&:,é-]{1,8}", 0..4),
        pairs in prop::collection::vec(("[a-zA-Z0-9 +/~é-]{1,6}", "[a-zA-Z0-9 +/~=é-]{0,6}"), 0..4),
        value in "[a-zA-Z0-9]( {0,3}[a-zA-Z0-9,;=]){0,6}",
        body in prop::collection::vec(any::<u8>(), 0..100),
        put in any::<bool>(),
    ) -> Signed {
        let encode = |text: &str| utf8_percent_encode(text, UNRESERVED).to_string();
        let path: Vec<String> = segments.iter().map(|text| encode(text)).collect();
        // Two dots alone are a step up to every parser of URLs.
        let path: Vec<String> = path.into_iter().filter(|part| !part.trim_matches('.').is_empty()).collect();
        let query: Vec<String> = pairs.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
        let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
        Signed {
            method: if put { Method::PUT } else { Method::GET },
            url: Url::parse(&format!("https://b.s3.eu-west-3.amazonaws.com/{}{query}", path.join("/"))).unwrap(),
            headers: headers(&[("x-amz-meta-note", &value), ("content-type", "text/plain")]),
            body: if put { body } else { Vec::new() },
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// What AWS' signer made with placeholders is taken, and made again exactly as it makes it
    /// with the real keys.
    #[test]
    fn a_signature_is_taken_and_made_again_as_aws_has_it(request in requests(), s3 in any::<bool>()) {
        let service = if s3 { "s3" } else { "sqs" };
        let now = at("2026-03-01T12:00:00Z");
        let theirs = request.sign(service, PLACEHOLDER_ID, PLACEHOLDER_SECRET, now);
        let claim = theirs.claim();
        prop_assert_eq!(&claim.access_key_id, PLACEHOLDER_ID);
        let verified = claim.verify(theirs.request(), PLACEHOLDER_SECRET, now).unwrap();
        let (ours, chunks) = claim.again(verified, theirs.request(), ID, SECRET).unwrap();
        prop_assert!(chunks.is_none() && ours.is_sensitive());
        let real = theirs.unsigned().sign(service, ID, SECRET, now);
        prop_assert_eq!(ours.to_str().unwrap(), real.headers[header::AUTHORIZATION].to_str().unwrap());
        let other = claim.verify(theirs.request(), SECRET, now).err();
        prop_assert_eq!(other, Some(ClaimError::Signature));
    }
}

#[test]
fn bound_a_signature_holds_for_what_it_covers_alone() {
    let now = at("2026-03-01T12:00:00Z");
    let make = || {
        let url = Url::parse("https://b.s3.eu-west-3.amazonaws.com/key?partNumber=1").unwrap();
        let request = Signed { method: Method::PUT, url, headers: HeaderMap::new(), body: b"hello".to_vec() };
        request.sign("s3", PLACEHOLDER_ID, PLACEHOLDER_SECRET, now)
    };
    let verify = |request: &Signed| request.claim().verify(request.request(), PLACEHOLDER_SECRET, now).map(drop);
    verify(&make()).unwrap();
    type Change = fn(&mut Signed);
    let changes: [(Change, ClaimError); 7] = [
        (|r| r.method = Method::DELETE, ClaimError::Signature),
        (|r| r.url.set_path("/other"), ClaimError::Signature),
        (|r| r.url.set_query(Some("partNumber=2")), ClaimError::Signature),
        (|r| r.url.set_host(Some("c.s3.eu-west-3.amazonaws.com")).unwrap(), ClaimError::Signature),
        (|r| r.body.push(b'!'), ClaimError::OtherBody),
        (|r| drop(r.headers.remove("x-amz-date")), ClaimError::Time),
        (|r| drop(r.headers.insert("x-amz-date", HeaderValue::from_static("20260302T120000Z"))), ClaimError::Time),
    ];
    for (change, expected) in changes {
        let mut request = make();
        change(&mut request);
        assert_eq!(verify(&request), Err(expected));
    }
    let request = make();
    for (now, expected) in [
        ("2026-03-01T12:04:59Z", None),
        ("2026-03-01T11:55:01Z", None),
        ("2026-03-01T12:05:01Z", Some(ClaimError::Skew)),
        ("2026-03-01T11:54:59Z", Some(ClaimError::Skew)),
        ("2027-03-01T12:00:00Z", Some(ClaimError::Skew)),
    ] {
        assert_eq!(request.claim().verify(request.request(), PLACEHOLDER_SECRET, at(now)).err(), expected, "{now}");
    }
}

#[test]
fn what_is_no_signature_is_told() {
    let good = "AWS4-HMAC-SHA256 Credential=AKIA/20260301/eu-west-3/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature=00";
    assert!(Claim::parse(good).is_ok());
    assert!(Claim::parse(&good.replace(", ", ",")).is_ok(), "some leave the blank out");
    for (from, to) in [
        ("HMAC", "ECDSA-P256"),
        ("AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA256"),
        ("Credential=AKIA/", "Credential=AKIA/x/"),
        ("aws4_request", "aws4"),
        ("/s3/", "//"),
        ("/s3/", "/s3\u{e9}/"),
        ("host;x-amz-date", "x-amz-date;host"),
        ("host;x-amz-date", "host;host"),
        ("host;x-amz-date", "Host;x-amz-date"),
        ("host;x-amz-date", ""),
        (", Signature=00", ""),
        (", Signature=00", ", Signature=00, Signature=11"),
        (", Signature=00", ", Signature=00, More=1"),
    ] {
        assert_eq!(Claim::parse(&good.replacen(from, to, 1)).err(), Some(ClaimError::Form), "{from} → {to}");
    }
    let no_host = good.replace("host;", "");
    let url = Url::parse("https://b.example/").unwrap();
    let headers = headers(&[("x-amz-date", "20260301T120000Z")]);
    let request = Signable { method: &Method::GET, url: &url, headers: &headers, body: Some(b"") };
    let claim = Claim::parse(&no_host).unwrap();
    assert_eq!(claim.verify(request, SECRET, at("2026-03-01T12:00:00Z")).err(), Some(ClaimError::NoHost));
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html>: seed, two chunks and the last one.
fn published() -> (HeaderMap, Vec<u8>) {
    let headers = headers(&[
        ("x-amz-date", "20130524T000000Z"),
        ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        (
            "authorization",
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders=content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class,Signature=4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
        ),
        ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
        ("content-encoding", "aws-chunked"),
        ("x-amz-decoded-content-length", "66560"),
        ("content-length", "66824"),
    ]);
    let mut body = Vec::new();
    for (size, signature) in [
        (65536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
        (1024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
        (0, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
    ] {
        body.extend_from_slice(format!("{size:x};chunk-signature={signature}\r\n").as_bytes());
        body.extend(std::iter::repeat_n(b'a', size));
        body.extend_from_slice(b"\r\n");
    }
    (headers, body)
}

/// The chunks of the published request, to be signed again with `secret`.
fn published_chunks(secret: &str) -> Chunks {
    let (headers, _) = published();
    let url = Url::parse("https://s3.amazonaws.com/examplebucket/chunkObject.txt").unwrap();
    let request = Signable { method: &Method::PUT, url: &url, headers: &headers, body: None };
    let claim = Claim::parse(headers[header::AUTHORIZATION].to_str().unwrap()).unwrap();
    let verified = claim.verify(request, SECRET, at("2013-05-24T00:00:00Z")).expect("the published seed");
    claim.again(verified, request, ID, secret).unwrap().1.expect("chunks")
}

/// Signs a body in chunks again, in pieces of this size.
fn again(chunks: &mut Chunks, body: &[u8], piece: usize) -> Result<Vec<u8>, ChunkError> {
    let mut out = Vec::new();
    for piece in body.chunks(piece) {
        out.extend(chunks.push(piece)?);
    }
    chunks.end().map(|()| out)
}

#[test]
fn the_published_chunks_are_taken_however_they_come() {
    let (_, body) = published();
    for piece in [1, 7, 4096, 70_000] {
        let ours = again(&mut published_chunks("another secret"), &body, piece).unwrap();
        assert_eq!(ours.len(), body.len(), "the stated length holds");
        assert_ne!(ours, body);
    }
    let mut changed = body.clone();
    changed[1000] = b'b';
    assert_eq!(again(&mut published_chunks(SECRET), &changed, 4096), Err(ChunkError::Signature));
    assert_eq!(again(&mut published_chunks(SECRET), &body[..60_000], 4096), Err(ChunkError::Ended));
    let more = [&body[..], b"0"].concat();
    assert_eq!(again(&mut published_chunks(SECRET), &more, 4096), Err(ChunkError::Form));
    let long = b"400000;chunk-signature=00\r\n";
    assert_eq!(again(&mut published_chunks(SECRET), long, 4096), Err(ChunkError::TooLong));
    assert_eq!(again(&mut published_chunks(SECRET), &[b'0'; 2000], 4096), Err(ChunkError::Form));
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html>: its trailer's own signature.
#[test]
fn the_published_trailer_is_signed_as_published() {
    let scope = CredentialScope { date: "20130524".into(), region: "us-east-1".into(), service: "s3".into() };
    let last = "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992";
    let trailer = sha256(b"x-amz-checksum-crc32c:sOO8/Q==\n");
    let key = SigningKey::new(SECRET, &scope);
    let signature = key.sign("AWS4-HMAC-SHA256-TRAILER", "20130524T000000Z", &scope, &format!("{last}\n{trailer}"));
    assert_eq!(signature, "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435");
}

#[test]
fn trailers_are_signed_again_after_their_chunks() {
    let scope = CredentialScope { date: "20130524".into(), region: "us-east-1".into(), service: "s3".into() };
    let time = "20130524T000000Z".to_owned();
    let make = |secret: &str, seed: &str| {
        let key = SigningKey::new(secret, &scope);
        let chunk = |last: &str, data: &[u8]| {
            let rest = format!("{last}\n{}\n{}", sha256(b""), sha256(data));
            key.sign("AWS4-HMAC-SHA256-PAYLOAD", &time, &scope, &rest)
        };
        let first = chunk(seed, b"hello");
        let last = chunk(&first, b"");
        let trailer = format!("{last}\n{}", sha256(b"x-amz-checksum-crc32c:sOO8/Q==\n"));
        let trailer = key.sign("AWS4-HMAC-SHA256-TRAILER", &time, &scope, &trailer);
        format!(
            "5;chunk-signature={first}\r\nhello\r\n0;chunk-signature={last}\r\nx-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:{trailer}\r\n\r\n"
        )
    };
    let key = |secret: &str| SigningKey::new(secret, &scope);
    let chunks = || {
        let given = (key(PLACEHOLDER_SECRET), "11".to_owned());
        Chunks::new(time.clone(), scope.clone(), given, (key(SECRET), "22".to_owned()), true)
    };
    let (given, real) = (make(PLACEHOLDER_SECRET, "11"), make(SECRET, "22"));
    for piece in [1, 5, 1000] {
        let ours = again(&mut chunks(), given.as_bytes(), piece).unwrap();
        assert_eq!(String::from_utf8(ours).unwrap(), real);
    }
    let changed = given.replace("sOO8", "sOO9");
    assert_eq!(again(&mut chunks(), changed.as_bytes(), 1000), Err(ChunkError::Signature));
}
