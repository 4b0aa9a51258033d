//! What a dashboard says; [`super::json`] knows how Grafana writes it.

/// A dashboard.
pub(crate) struct Dashboard {
    /// Of the file, and the end of the uid.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) about: &'static str,
    pub(crate) variables: &'static [Variable],
    pub(crate) rows: Vec<Row>,
}

/// Something to choose on top of a dashboard, beside data source, job and instance, which all have.
#[derive(Clone, Copy)]
pub(crate) struct Variable {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// Of a metric of the same instances; of several, which `matchers` name, where it is empty.
    pub(crate) metric: &'static str,
    pub(crate) matchers: &'static str,
    pub(crate) label: &'static str,
    /// Several or all of them; else one.
    pub(crate) multi: bool,
}

pub(crate) struct Row {
    pub(crate) title: &'static str,
    pub(crate) panels: Vec<Panel>,
}

pub(crate) fn row(title: &'static str, panels: impl Into<Vec<Panel>>) -> Row {
    Row { title, panels: panels.into() }
}

pub(crate) struct Panel {
    pub(crate) title: &'static str,
    pub(crate) about: &'static str,
    pub(crate) unit: Unit,
    pub(crate) view: View,
    /// Columns of 24.
    pub(crate) width: u32,
    pub(crate) targets: Vec<Target>,
}

pub(crate) struct Target {
    pub(crate) expr: String,
    /// As Grafana's templates: `{{label}}`.
    pub(crate) legend: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    Lines,
    /// Counts by interval, stacked.
    Bars,
    /// One number of the whole range.
    Stat,
    /// Labels as columns; named ones lead elsewhere.
    Table,
    Heatmap,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Count,
    PerSecond,
    RequestsPerSecond,
    Seconds,
    Share,
    Bytes,
    Cores,
}

impl Unit {
    /// Grafana's id.
    pub(crate) fn id(self) -> &'static str {
        match self {
            Self::Count => "short",
            Self::PerSecond => "cps",
            Self::RequestsPerSecond => "reqps",
            Self::Seconds => "s",
            Self::Share => "percentunit",
            Self::Bytes => "bytes",
            Self::Cores => "none",
        }
    }
}

impl Panel {
    fn new(view: View, width: u32, title: &'static str, about: &'static str, unit: Unit) -> Self {
        Self { title, about, unit, view, width, targets: Vec::new() }
    }

    pub(crate) fn lines(title: &'static str, about: &'static str, unit: Unit) -> Self {
        Self::new(View::Lines, 12, title, about, unit)
    }

    pub(crate) fn bars(title: &'static str, about: &'static str) -> Self {
        Self::new(View::Bars, 12, title, about, Unit::Count)
    }

    pub(crate) fn stat(title: &'static str, about: &'static str, unit: Unit) -> Self {
        Self::new(View::Stat, 6, title, about, unit)
    }

    pub(crate) fn table(title: &'static str, about: &'static str) -> Self {
        Self::new(View::Table, 12, title, about, Unit::Count)
    }

    pub(crate) fn heatmap(title: &'static str, about: &'static str) -> Self {
        Self::new(View::Heatmap, 12, title, about, Unit::Seconds)
    }

    pub(crate) fn wide(mut self) -> Self {
        self.width = 24;
        self
    }

    pub(crate) fn show(mut self, expr: impl Into<String>, legend: &'static str) -> Self {
        self.targets.push(Target { expr: expr.into(), legend });
        self
    }
}
