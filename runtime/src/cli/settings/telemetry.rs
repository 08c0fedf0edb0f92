//! `[telemetry]`: the collector that traces and metrics go to, by OTLP. OpenTelemetry's own variables win over the
//! file, as they do elsewhere.

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use keyhole::telemetry::Options;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Deserializer, de};
use url::Url;
use zeroize::Zeroizing;

use super::parse::parsed_duration;
use super::{Settings, read_text};
use crate::cli::error::{Error, Result};

/// How often metrics are sent, unless it is said.
const EVERY: Duration = Duration::from_secs(60);
/// What `OTEL_TRACES_SAMPLER` may say.
const SAMPLERS: [&str; 6] = [
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
];

/// What the configuration file says.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TelemetryFile {
    /// The collector: spans go to `v1/traces` below it, metrics to `v1/metrics`.
    #[serde(deserialize_with = "collector")]
    endpoint: Option<Url>,
    /// A file with a header a line, `NAME: VALUE`.
    headers: Option<PathBuf>,
    /// Trust the certificate authorities in this file, too.
    ca_cert: Option<PathBuf>,
    service_name: Option<String>,
    traces: Option<bool>,
    metrics: Option<bool>,
    #[serde(deserialize_with = "period")]
    metrics_every: Option<Duration>,
    trust_traceparent: bool,
}

impl TelemetryFile {
    /// Its paths, which start at the folder of the file.
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.headers.iter_mut().chain(&mut self.ca_cert)
    }
}

fn collector<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<Url>, D::Error> {
    endpoint(&String::deserialize(deserializer)?).map(Some).map_err(de::Error::custom)
}

/// The address of a collector. Its headers often hold a credential, so nothing of the kind goes in the URL.
fn endpoint(text: &str) -> std::result::Result<Url, String> {
    let url: Url = text.parse().map_err(|error| format!("'{text}' is no URL: {error}"))?;
    let plain =
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    if !matches!(url.scheme(), "http" | "https") || !plain {
        return Err(
            "a collector's address is of the form http://HOST:4318, without a user, query or fragment".to_owned()
        );
    }
    Ok(url)
}

fn period<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<Duration>, D::Error> {
    match parsed_duration(deserializer)? {
        Some(every) if every < Duration::from_millis(100) => {
            Err(de::Error::custom("metrics are sent every 100 ms at most"))
        }
        every => Ok(every),
    }
}

/// A variable's text, if it says something.
fn variable(name: &str) -> Result<Option<String>> {
    match std::env::var(name) {
        Ok(value) if value.trim().is_empty() => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(Error::usage(format!("{name} is not UTF-8 text"))),
    }
}

impl Settings {
    /// Where telemetry goes: the variables' word, or the file's. None: nowhere.
    pub fn telemetry(&self) -> Result<Option<Options>> {
        let file = &self.telemetry;
        if variable("OTEL_SDK_DISABLED")?.is_some_and(|off| off.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        let address = |name: &str| -> Result<Option<Url>> {
            let parsed = variable(name)?.map(|text| endpoint(&text)).transpose();
            parsed.map_err(|message| Error::usage(message).at(name))
        };
        let base = address("OTEL_EXPORTER_OTLP_ENDPOINT")?.or_else(|| file.endpoint.clone());
        let signal = |name: &str, path: &str, wanted: Option<bool>| -> Result<Option<Url>> {
            let exporter = format!("OTEL_{name}_EXPORTER");
            match variable(&exporter)?.as_deref() {
                None | Some("otlp") => {}
                Some("none") => return Ok(None),
                Some(other) => {
                    return Err(Error::usage(format!("{exporter} is '{other}'")).help("set it to otlp or none"));
                }
            }
            if wanted == Some(false) {
                return Ok(None);
            }
            let own = address(&format!("OTEL_EXPORTER_OTLP_{name}_ENDPOINT"))?;
            Ok(own.or_else(|| base.as_ref().map(|base| below(base, path))))
        };
        let traces = signal("TRACES", "v1/traces", file.traces)?;
        let metrics = signal("METRICS", "v1/metrics", file.metrics)?;
        if traces.is_none() && metrics.is_none() {
            return Ok(None);
        }
        for name in
            ["OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL"]
        {
            if let Some(protocol) = variable(name)?.filter(|protocol| protocol != "http/protobuf") {
                return Err(Error::usage(format!("{name} is '{protocol}', and Keyhole speaks http/protobuf alone"))
                    .help("collectors take that at port 4318"));
            }
        }
        // One that the SDK does not know would be taken for the default, without a word.
        if let Some(sampler) = variable("OTEL_TRACES_SAMPLER")? {
            if !SAMPLERS.contains(&sampler.as_str()) {
                return Err(Error::usage(format!("OTEL_TRACES_SAMPLER is '{sampler}'"))
                    .help(format!("set it to one of {}", SAMPLERS.join(", "))));
            }
            let ratio = variable("OTEL_TRACES_SAMPLER_ARG")?;
            let fits = |ratio: &str| ratio.parse::<f64>().is_ok_and(|ratio| (0.0..=1.0).contains(&ratio));
            if sampler.ends_with("ratio") && !ratio.as_deref().is_some_and(fits) {
                return Err(
                    Error::usage(format!("{sampler} needs a ratio")).help("set OTEL_TRACES_SAMPLER_ARG, 0.0 to 1.0")
                );
            }
        }
        let every = match variable("OTEL_METRIC_EXPORT_INTERVAL")? {
            None => file.metrics_every.unwrap_or(EVERY),
            Some(text) => match text.parse::<u64>() {
                Ok(milliseconds) if milliseconds >= 100 => Duration::from_millis(milliseconds),
                _ => {
                    let wrong = format!("OTEL_METRIC_EXPORT_INTERVAL is '{text}'");
                    return Err(Error::usage(wrong).help("set it to milliseconds, 100 at least"));
                }
            },
        };
        let ca_cert =
            match variable("OTEL_EXPORTER_OTLP_CERTIFICATE")?.map(PathBuf::from).or_else(|| file.ca_cert.clone()) {
                Some(path) => {
                    let pem = read_text(&path)?;
                    if !pem.contains("-----BEGIN CERTIFICATE-----") {
                        return Err(Error::usage("the file holds no certificate in PEM form").at(path.display()));
                    }
                    Some(pem)
                }
                None => None,
            };
        Ok(Some(Options {
            traces,
            metrics,
            headers: self.telemetry_headers()?,
            ca_cert,
            service_name: file.service_name.clone(),
            every,
            trust_traceparent: file.trust_traceparent,
        }))
    }

    fn telemetry_headers(&self) -> Result<HeaderMap> {
        const VARIABLE: &str = "OTEL_EXPORTER_OTLP_HEADERS";
        let mut headers = HeaderMap::new();
        // No message quotes a line: it may hold a credential.
        let mut add = |name: &str, value: &str, place: &str| {
            let pair = name.trim().parse::<HeaderName>().ok().zip(HeaderValue::from_str(value.trim()).ok());
            let (name, mut value) = pair.ok_or_else(|| Error::usage("that is no header").at(place))?;
            value.set_sensitive(true);
            headers.insert(name, value);
            Ok::<_, Error>(())
        };
        if let Some(text) = variable(VARIABLE)?.map(Zeroizing::new) {
            for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
                let wrong = || Error::usage("that is no header").at(VARIABLE).help("write NAME=VALUE,NAME=VALUE");
                let (name, value) = pair.split_once('=').ok_or_else(wrong)?;
                let value = Zeroizing::new(percent_decode_str(value).decode_utf8().map_err(|_| wrong())?.into_owned());
                add(name, &value, VARIABLE)?;
            }
        } else if let Some(path) = &self.telemetry.headers {
            let text = Zeroizing::new(read_text(path)?);
            for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
                let place = format!("{}:{}", path.display(), number + 1);
                let wrong = || Error::usage("that is no header").at(&place).help("write NAME: VALUE");
                let (name, value) = line.split_once(':').ok_or_else(wrong)?;
                add(name, value, &place)?;
            }
        }
        Ok(headers)
    }
}

/// `path` below the collector's address.
fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/{path}", base.path().trim_end_matches('/')));
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> std::result::Result<TelemetryFile, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn signals_go_below_the_collectors_address() {
        let base = file("endpoint = \"https://otel.example:4318/some/\"").unwrap().endpoint.unwrap();
        assert_eq!(below(&base, "v1/traces").as_str(), "https://otel.example:4318/some/v1/traces");
        let base = file("endpoint = \"http://127.0.0.1:4318\"").unwrap().endpoint.unwrap();
        assert_eq!(below(&base, "v1/metrics").as_str(), "http://127.0.0.1:4318/v1/metrics");
    }

    #[test]
    fn an_address_that_is_none_or_holds_a_credential_is_refused() {
        for wrong in ["otel", "grpc://otel:4317", "http://me:secret@otel:4318", "http://otel:4318/?key=1"] {
            assert!(endpoint(wrong).is_err_and(|said| !said.contains("secret")), "{wrong}");
        }
        for wrong in ["metrics_every = \"1ms\"", "traces = 1", "headrs = \"x\""] {
            assert!(file(wrong).is_err(), "{wrong}");
        }
    }
}
