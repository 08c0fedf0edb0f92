//! SDKs that sign, unmodified, at a server that verifies each signature under the real key.

use std::collections::BTreeMap;
use std::sync::Mutex;

use keyhole_tests::aws::{Key, verify};
use keyhole_tests::server::{Body, Received, answer};
use keyhole_tests::workspace::root;
use serde_json::json;

use crate::house::House;

const KEY: Key<'_> = Key { id: "AKIAIOSFODNN7EXAMPLE", secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY" };
const BUCKET: &str = "notes.s3.eu-west-3.amazonaws.com";

/// A bucket in memory, for those who sign.
#[derive(Default)]
struct Bucket(Mutex<BTreeMap<String, Vec<u8>>>);

impl Bucket {
    fn answer(&self, request: &Received) -> http::Response<Body> {
        match verify(request, BUCKET, KEY) {
            Ok(scope) if scope == "eu-west-3/s3" => {}
            Ok(scope) => return answer(400, "text/plain", scope),
            Err(error) => {
                let text = format!("<Error><Code>SignatureDoesNotMatch</Code><Message>{error}</Message></Error>");
                return answer(403, "application/xml", text);
            }
        }
        let mut objects = self.0.lock().unwrap();
        let path = request.target.split('?').next().unwrap_or_default();
        let name = percent_encoding::percent_decode_str(&path[1..]).decode_utf8_lossy().into_owned();
        match (request.method.as_str(), name.as_str()) {
            ("PUT", _) => {
                objects.insert(name, request.body.clone());
                answer(200, "application/xml", "")
            }
            ("GET", "") => {
                let keys: String = objects.keys().map(|key| format!("<Contents><Key>{key}</Key></Contents>")).collect();
                answer(200, "application/xml", format!("<ListBucketResult>{keys}</ListBucketResult>"))
            }
            _ => match objects.get(&name) {
                Some(body) => answer(200, "text/plain", body.clone()),
                None => answer(404, "application/xml", "<Error><Code>NoSuchKey</Code></Error>"),
            },
        }
    }
}

#[test]
fn sealed_awss_own_sdk_signs_with_placeholders_and_the_server_sees_real_signatures() {
    let mut house = House::new();
    let bucket = Bucket::default();
    let server = house.serve(&[BUCKET], move |request| bucket.answer(request));
    let account = house.connect("aws", &format!("{}\n{}\n", KEY.id, KEY.secret), &["region=eu-west-3"]);
    let link = format!("aws={account}");
    let flags = ["--link", &link, "--prop", "bucket=notes", "--timeout", "120s"];
    let run = house.run(&root().join("examples/aws-s3"), &json!({}), &flags);
    assert_eq!(run["status"], "ok", "{run:#}");
    assert_eq!(run["return_value"], json!({"listed": ["hello world.txt"], "text": "Hello, world!"}));
    let received = server.received();
    assert_eq!(received.len(), 3);
    for request in &received {
        verify(request, BUCKET, KEY).unwrap();
        assert!(!format!("{request:?}").contains(keyhole_host_api::broker::MARKER), "no placeholder left");
    }
    assert!(!run.to_string().contains(KEY.id), "{run:#}");
}
