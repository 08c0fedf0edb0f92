//! The metrics by OTLP. They are read from what `/metrics` shows, so that both are one set of measurements and
//! can't differ; what counts them knows of neither.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{Method, Request, header};
use opentelemetry::InstrumentationScope;
use opentelemetry_http::HttpClient as _;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum,
};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_sdk::Resource;
use prost::Message as _;
use tokio::sync::watch;
use url::Url;

use super::Complaints;
use super::collector::Collector;

/// Whose metrics they are, and since when they are counted.
pub(super) struct Series {
    pub resource: Resource,
    pub scope: InstrumentationScope,
    pub since: SystemTime,
}

/// Sends what `read` gives every so often, and once more when it is told to stop. What was not taken is in the
/// next: each tells of everything since the beginning.
pub(super) async fn send(
    url: Url,
    every: Duration,
    collector: Arc<Collector>,
    series: Series,
    read: impl Fn() -> String + Send + Sync + 'static,
    mut stop: watch::Receiver<bool>,
) {
    let complaints = Complaints::default();
    let mut stopping = false;
    while !stopping {
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            _ = stop.wait_for(|stop| *stop) => stopping = true,
        }
        let body = series.request(&read(), SystemTime::now()).encode_to_vec();
        let request = Request::builder()
            .method(Method::POST)
            .uri(url.as_str())
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .body(Bytes::from(body));
        let sent = match request {
            Ok(request) => collector.send_bytes(request).await,
            Err(error) => Err(error.into()),
        };
        match sent {
            Ok(answer) if answer.status().is_success() => {}
            Ok(answer) => complaints.failed("metrics", &answer.status()),
            Err(error) => complaints.failed("metrics", &error),
        }
    }
}

/// One line of Prometheus' text: a name, labels, a value.
struct Sample<'t> {
    name: &'t str,
    labels: Vec<(&'t str, String)>,
    value: f64,
}

impl<'t> Sample<'t> {
    fn read(line: &'t str) -> Option<Self> {
        let (head, value) = line.rsplit_once(' ')?;
        let (name, mut rest) = head.split_once('{').unwrap_or((head, ""));
        let mut labels = Vec::new();
        while let Some((label, after)) = rest.split_once("=\"") {
            let mut value = String::new();
            let mut letters = after.char_indices();
            let end = loop {
                match letters.next()? {
                    (at, '"') => break at,
                    (_, '\\') => value.push(match letters.next()?.1 {
                        'n' => '\n',
                        other => other,
                    }),
                    (_, other) => value.push(other),
                }
            };
            labels.push((label.trim_start_matches(','), value));
            rest = &after[end + 1..];
        }
        Some(Self { name, labels, value: value.parse().ok()? })
    }

    fn attributes(labels: &[(&str, String)]) -> Vec<KeyValue> {
        let one = |(name, value): &(&str, String)| KeyValue {
            key: (*name).to_owned(),
            value: Some(AnyValue { value: Some(Value::StringValue(value.clone())) }),
            ..KeyValue::default()
        };
        labels.iter().map(one).collect()
    }
}

impl Series {
    /// What Prometheus' text says, in the words of OTLP.
    fn request(&self, text: &str, now: SystemTime) -> ExportMetricsServiceRequest {
        let ResourceAttributesWithSchema { attributes, schema_url } = (&self.resource).into();
        let metrics = families(text).into_iter().filter_map(|(name, family)| self.metric(name, &family, now)).collect();
        ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(opentelemetry_proto::tonic::resource::v1::Resource {
                    attributes: attributes.0,
                    ..Default::default()
                }),
                scope_metrics: vec![ScopeMetrics {
                    scope: Some((&self.scope, None).into()),
                    metrics,
                    schema_url: String::new(),
                }],
                schema_url: schema_url.unwrap_or_default(),
            }],
        }
    }

    fn metric(&self, name: &str, family: &Family<'_>, now: SystemTime) -> Option<Metric> {
        let number = |sample: &Sample<'_>, value: Number| NumberDataPoint {
            attributes: Sample::attributes(&sample.labels),
            start_time_unix_nano: nanos(self.since),
            time_unix_nano: nanos(now),
            value: Some(value),
            ..NumberDataPoint::default()
        };
        let cumulative = AggregationTemporality::Cumulative.into();
        let data = match family.kind {
            "counter" => Data::Sum(Sum {
                data_points: family.samples.iter().map(|s| number(s, Number::AsInt(s.value as i64))).collect(),
                aggregation_temporality: cumulative,
                is_monotonic: true,
            }),
            "gauge" => Data::Gauge(Gauge {
                data_points: family.samples.iter().map(|s| number(s, Number::AsDouble(s.value))).collect(),
            }),
            "histogram" => Data::Histogram(Histogram {
                data_points: self.histogram(name, &family.samples, now),
                aggregation_temporality: cumulative,
            }),
            _ => return None,
        };
        let unit = if name.ends_with("_seconds") { "s" } else { "" }.to_owned();
        let (name, description) = (name.to_owned(), family.help.to_owned());
        Some(Metric { name, description, unit, data: Some(data), ..Metric::default() })
    }

    /// Prometheus' buckets each have what is in those before them, too; OTLP's have not.
    fn histogram(&self, name: &str, samples: &[Sample<'_>], now: SystemTime) -> Vec<HistogramDataPoint> {
        let mut points: BTreeMap<Vec<(&str, String)>, HistogramDataPoint> = BTreeMap::new();
        for sample in samples {
            let bound = sample.labels.iter().find(|(label, _)| *label == "le").map(|(_, bound)| bound.parse::<f64>());
            let labels: Vec<_> = sample.labels.iter().filter(|(label, _)| *label != "le").cloned().collect();
            let attributes = Sample::attributes(&labels);
            let point = points.entry(labels).or_insert_with(|| HistogramDataPoint {
                attributes,
                start_time_unix_nano: nanos(self.since),
                time_unix_nano: nanos(now),
                ..HistogramDataPoint::default()
            });
            match sample.name.strip_prefix(name) {
                Some("_sum") => point.sum = Some(sample.value),
                Some("_count") => point.count = sample.value as u64,
                Some("_bucket") => {
                    let before: u64 = point.bucket_counts.iter().sum();
                    point.bucket_counts.push((sample.value as u64).saturating_sub(before));
                    point.explicit_bounds.extend(bound.and_then(Result::ok).filter(|bound| bound.is_finite()));
                }
                _ => {}
            }
        }
        points.into_values().collect()
    }
}

#[derive(Default)]
struct Family<'t> {
    kind: &'t str,
    help: &'t str,
    samples: Vec<Sample<'t>>,
}

fn families(text: &str) -> BTreeMap<&str, Family<'_>> {
    let mut families: BTreeMap<&str, Family<'_>> = BTreeMap::new();
    let mut now = "";
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            families.entry(name).or_default().help = help;
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            now = name;
            families.entry(name).or_default().kind = kind;
        } else if let Some(sample) = Sample::read(line) {
            families.entry(now).or_default().samples.push(sample);
        }
    }
    families
}

fn nanos(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use metrics::{counter, gauge, histogram, with_local_recorder};
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn what_prometheus_is_told_is_what_the_collector_is_told() {
        let recorder = PrometheusBuilder::new().set_buckets(&[0.1, 1.0, 10.0]).unwrap().build_recorder();
        with_local_recorder(&recorder, || {
            counter!("runs_total", "status" => "o\"k\\, {x=\"y\"}\n").increment(7);
            gauge!("runs", "state" => "queued").set(2.5);
            for seconds in [0.05, 0.5, 0.7, 5.0, 500.0] {
                histogram!("run_seconds", "app" => "acme").record(seconds);
            }
        });
        let series = Series {
            resource: Resource::builder_empty().build(),
            scope: InstrumentationScope::builder("keyhole").build(),
            since: UNIX_EPOCH,
        };
        let text = recorder.handle().render();
        let request = series.request(&text, UNIX_EPOCH + Duration::from_secs(1));
        let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
        let of = |name: &str| {
            let found = metrics.iter().find(|metric| metric.name == name);
            found.unwrap_or_else(|| panic!("no {name} in {text}")).data.clone().unwrap()
        };
        let Data::Sum(sum) = of("runs_total") else { panic!("{metrics:?}") };
        assert_eq!(sum.data_points[0].value, Some(Number::AsInt(7)));
        let label = sum.data_points[0].attributes[0].value.clone().unwrap().value.unwrap();
        assert_eq!(label, Value::StringValue("o\"k\\, {x=\"y\"}\n".to_owned()));
        let Data::Gauge(gauge) = of("runs") else { panic!("{metrics:?}") };
        assert_eq!(gauge.data_points[0].value, Some(Number::AsDouble(2.5)));
        let Data::Histogram(histogram) = of("run_seconds") else { panic!("{metrics:?}") };
        let point = &histogram.data_points[0];
        assert_eq!((point.count, point.sum), (5, Some(506.25)));
        assert_eq!((&point.explicit_bounds[..], &point.bucket_counts[..]), (&[0.1, 1.0, 10.0][..], &[1, 2, 1, 1][..]));
    }
}
