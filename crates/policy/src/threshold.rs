//! When an image is too much.

use unbloat_api::squash_policy::{Analysis, ThresholdMatch, Thresholds};

use crate::facts::{AnalysisFacts, Inspection};
use crate::quantity;

/// Thresholds as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    is_any: bool,
    layers: Option<i64>,
    size: Option<i64>,
    wasted_bytes: Option<i64>,
    wasted_percent: Option<i64>,
}

/// What an image is by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Below.
    Below,
    /// Too much.
    Over,
    /// What isn't known yet decides: it has to be analysed.
    NeedsAnalysis,
}

impl Limits {
    /// Reads them; `Err` is the field that is no quantity.
    ///
    /// # Errors
    /// The path of a field that can't be read.
    pub fn parse(thresholds: &Thresholds) -> Result<Self, &'static str> {
        let Thresholds { match_, layers, size, wasted_bytes, wasted_percent } = thresholds;
        let bytes = |quantity: &Option<_>, field| match quantity {
            None => Ok(None),
            Some(quantity) => quantity::bytes(quantity)
                .map(|bytes| Some(i64::try_from(bytes).unwrap_or(i64::MAX)))
                .ok_or(field),
        };
        Ok(Self {
            is_any: *match_ == ThresholdMatch::Any,
            layers: layers.map(i64::from),
            size: bytes(size, "thresholds.size")?,
            wasted_bytes: bytes(wasted_bytes, "thresholds.wastedBytes")?,
            wasted_percent: wasted_percent.map(i64::from),
        })
    }

    /// Judges.
    pub(crate) fn judge(
        &self,
        inspection: &Inspection,
        analysis: Option<&AnalysisFacts>,
        wanted: Analysis,
    ) -> Judgement {
        let over =
            |limit: Option<i64>, value: Option<i64>| limit.map(|limit| value.map(|value| value > limit));
        let checks = [
            over(self.layers, Some(i64::from(inspection.layers()))),
            over(self.size, Some(inspection.bytes())),
            over(self.wasted_bytes, analysis.map(|analysis| analysis.wasted_bytes)),
            over(self.wasted_percent, analysis.map(|analysis| i64::from(analysis.wasted_percent))),
        ];
        let asked: Vec<Option<bool>> = checks.into_iter().flatten().collect();
        let needs = asked.contains(&None)
            && (analysis.is_none() && self.is_worth_reading(inspection, wanted))
            && wanted != Analysis::Never;
        let decided = if self.is_any { asked.contains(&Some(true)) } else { !asked.contains(&Some(false)) };
        match (self.is_any, decided) {
            (true, true) => Judgement::Over,
            (true, false) | (false, true) if needs => Judgement::NeedsAnalysis,
            (false, true) if !asked.is_empty() && !asked.contains(&None) => Judgement::Over,
            _ => Judgement::Below,
        }
    }

    /// Whether layers should be read, be it for the judgement or for the causes that a report tells.
    pub fn wants_analysis(&self, inspection: &Inspection, wanted: Analysis) -> bool {
        wanted != Analysis::Never && self.is_worth_reading(inspection, wanted)
    }

    /// An image of one layer wastes too little to be read for it, unless everything is to be read.
    fn is_worth_reading(&self, inspection: &Inspection, wanted: Analysis) -> bool {
        let layers = i64::from(inspection.layers());
        if wanted == Analysis::Always {
            return true;
        }
        match (self.layers, self.size) {
            (None, None) => layers > 1,
            (most, size) => {
                most.is_some_and(|most| layers > most) || size.is_some_and(|size| inspection.bytes() > size)
            }
        }
    }

    /// The thresholds that are passed, by the names of their fields.
    pub fn passed(&self, inspection: &Inspection, analysis: Option<&AnalysisFacts>) -> Vec<&'static str> {
        let over = |limit: Option<i64>, value: Option<i64>| {
            limit.is_some_and(|limit| value.is_some_and(|value| value > limit))
        };
        [
            ("layers", over(self.layers, Some(i64::from(inspection.layers())))),
            ("size", over(self.size, Some(inspection.bytes()))),
            ("wastedBytes", over(self.wasted_bytes, analysis.map(|analysis| analysis.wasted_bytes))),
            (
                "wastedPercent",
                over(self.wasted_percent, analysis.map(|analysis| i64::from(analysis.wasted_percent))),
            ),
        ]
        .into_iter()
        .filter_map(|(name, over)| over.then_some(name))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use unbloat_api::image_report::ReportedPlatform;

    use super::*;

    fn image(layers: i32, bytes: i64) -> Inspection {
        let platform = ReportedPlatform { platform: "linux/amd64".into(), layers, compressed_bytes: bytes };
        Inspection { platforms: vec![platform], blocker: None }
    }

    fn wasted(bytes: i64, percent: i32) -> AnalysisFacts {
        AnalysisFacts { wasted_bytes: bytes, wasted_percent: percent, ..AnalysisFacts::default() }
    }

    fn limits(thresholds: &Value) -> Limits {
        Limits::parse(&serde_json::from_value(thresholds.clone()).unwrap()).unwrap()
    }

    #[test]
    fn each_row_of_the_table() {
        use Analysis::{Always, Never, OverThreshold};
        use Judgement::{Below, NeedsAnalysis, Over};
        let waste = wasted(600, 60);
        let little = wasted(1, 1);
        for (thresholds, layers, bytes, analysis, wanted, expected) in [
            (json!({"layers": 10}), 10, 0, None, OverThreshold, Below),
            (json!({"layers": 10}), 11, 0, None, OverThreshold, Over),
            (json!({"size": "1k"}), 1, 1000, None, OverThreshold, Below),
            (json!({"size": "1k"}), 1, 1001, None, OverThreshold, Over),
            (json!({"layers": 10, "size": "1k"}), 1, 1001, None, OverThreshold, Over),
            (json!({"match": "All", "layers": 10, "size": "1k"}), 1, 1001, None, OverThreshold, Below),
            (json!({"match": "All", "layers": 10, "size": "1k"}), 11, 1001, None, OverThreshold, Over),
            // Waste alone.
            (json!({"wastedPercent": 50}), 5, 0, None, OverThreshold, NeedsAnalysis),
            (json!({"wastedPercent": 50}), 1, 0, None, OverThreshold, Below),
            (json!({"wastedPercent": 50}), 1, 0, None, Always, NeedsAnalysis),
            (json!({"wastedPercent": 50}), 5, 0, Some(&waste), OverThreshold, Over),
            (json!({"wastedPercent": 50}), 5, 0, Some(&little), OverThreshold, Below),
            (json!({"wastedBytes": "600"}), 5, 0, Some(&waste), OverThreshold, Below),
            (json!({"wastedBytes": "599"}), 5, 0, Some(&waste), OverThreshold, Over),
            // Waste beside a cheap threshold.
            (json!({"layers": 10, "wastedPercent": 50}), 5, 0, None, OverThreshold, Below),
            (json!({"layers": 10, "wastedPercent": 50}), 5, 0, None, Always, NeedsAnalysis),
            (json!({"layers": 10, "wastedPercent": 50}), 11, 0, None, Never, Over),
            (json!({"layers": 10, "wastedPercent": 50}), 5, 0, Some(&waste), OverThreshold, Over),
            (
                json!({"match": "All", "layers": 10, "wastedPercent": 50}),
                11,
                0,
                None,
                OverThreshold,
                NeedsAnalysis,
            ),
            (json!({"match": "All", "layers": 10, "wastedPercent": 50}), 5, 0, None, OverThreshold, Below),
            (json!({"match": "All", "layers": 10, "wastedPercent": 50}), 5, 0, None, Always, Below),
            (
                json!({"match": "All", "layers": 10, "wastedPercent": 50}),
                11,
                0,
                Some(&waste),
                OverThreshold,
                Over,
            ),
            (
                json!({"match": "All", "layers": 10, "wastedPercent": 50}),
                11,
                0,
                Some(&little),
                OverThreshold,
                Below,
            ),
            (json!({"match": "All", "layers": 10, "wastedPercent": 50}), 11, 0, None, Never, Below),
        ] {
            let judged = limits(&thresholds).judge(&image(layers, bytes), analysis, wanted);
            assert_eq!(judged, expected, "{thresholds} {layers} {bytes} {analysis:?} {wanted:?}");
        }
    }

    #[test]
    fn the_largest_platform_counts() {
        let mut two = image(3, 10);
        two.platforms.push(ReportedPlatform {
            platform: "linux/arm64".into(),
            layers: 70,
            compressed_bytes: 5,
        });
        assert_eq!(limits(&json!({"layers": 60})).judge(&two, None, Analysis::Never), Judgement::Over);
        assert_eq!((two.bytes(), two.all_bytes()), (10, 15));
        assert_eq!(limits(&json!({"layers": 60, "size": "1"})).passed(&two, None), ["layers", "size"]);
    }

    #[test]
    fn a_size_that_is_no_quantity_is_named() {
        let thresholds = serde_json::from_value(json!({"size": "ten"})).unwrap();
        assert_eq!(Limits::parse(&thresholds), Err("thresholds.size"));
    }
}
