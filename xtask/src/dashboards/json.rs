//! A dashboard as Grafana reads it (schema version 39, Grafana 10.4 and newer).

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::DOCS;
use super::model::{Dashboard, Panel, Target, Unit, Variable, View};

const COLUMNS: u32 = 24;

/// With sorted keys: the order that `serde_json` keeps depends on what else is built with it.
pub(super) fn text(dashboard: &Dashboard) -> Result<String> {
    Ok(serde_json::to_string_pretty(&sorted(value(dashboard)))? + "\n")
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut fields: Vec<_> = map.into_iter().map(|(name, value)| (name, sorted(value))).collect();
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(Map::from_iter(fields))
        }
        Value::Array(values) => values.into_iter().map(sorted).collect(),
        value => value,
    }
}

fn value(dashboard: &Dashboard) -> Value {
    let Dashboard { name, title, about, variables, rows } = dashboard;
    json!({
        "uid": uid(name),
        "title": format!("Tracer / {title}"),
        "description": about,
        "tags": ["tracer"],
        "schemaVersion": 39,
        "version": 1,
        "editable": false,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": "1m",
        "time": {"from": "now-1h", "to": "now"},
        "timepicker": {},
        "annotations": {"list": []},
        "links": [
            {"type": "dashboards", "title": "Tracer", "tags": ["tracer"], "asDropdown": true, "includeVars": true, "keepTime": true},
            {"type": "link", "title": "Causes", "icon": "doc", "targetBlank": true, "url": format!("{DOCS}/causes.md")},
        ],
        "templating": {"list": templating(variables)},
        "panels": panels(rows),
    })
}

fn uid(name: &str) -> String {
    format!("tracer-{name}")
}

fn templating(variables: &[Variable]) -> Vec<Value> {
    const JOB: Variable =
        Variable { name: "job", title: "Job", metric: "tracer_build_info", matchers: "", label: "job", multi: true };
    const INSTANCE: Variable =
        Variable { name: "instance", title: "Node", matchers: r#"job=~"$job""#, label: "instance", ..JOB };
    let source = json!({
        "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "hide": 0,
        "refresh": 1, "regex": "", "multi": false, "includeAll": false, "options": [], "current": {},
    });
    std::iter::once(source).chain([JOB, INSTANCE].iter().chain(variables).map(variable)).collect()
}

fn variable(variable: &Variable) -> Value {
    let Variable { name, title, metric, matchers, label, multi } = variable;
    let query = format!("label_values({metric}{{{matchers}}}, {label})");
    let mut value = json!({
        "name": name, "label": title, "type": "query", "datasource": source(), "definition": query,
        "query": {"query": query, "refId": "variable"}, "refresh": 2, "regex": "", "sort": 1, "hide": 0,
        "multi": multi, "includeAll": multi, "options": [], "current": {},
    });
    if *multi {
        // Also what has no such label.
        value["allValue"] = json!(".*");
        value["current"] = json!({"selected": true, "text": ["All"], "value": ["$__all"]});
    }
    value
}

fn source() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

fn panels(rows: &[super::model::Row]) -> Vec<Value> {
    let mut made = Vec::new();
    let mut top = 0;
    for row in rows {
        let id = made.len() + 1;
        made.push(json!({
            "id": id, "type": "row", "title": row.title, "collapsed": false, "panels": [],
            "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1},
        }));
        top += 1;
        let (mut left, mut tallest) = (0, 0);
        for panel in &row.panels {
            let height = if panel.view == View::Stat { 4 } else { 8 };
            if left + panel.width > COLUMNS {
                top += tallest;
                (left, tallest) = (0, 0);
            }
            let place = json!({"x": left, "y": top, "w": panel.width, "h": height});
            made.push(self::panel(panel, made.len() + 1, &place));
            left += panel.width;
            tallest = tallest.max(height);
        }
        top += tallest;
    }
    made
}

fn panel(panel: &Panel, id: usize, place: &Value) -> Value {
    let Panel { title, about, unit, view, targets, .. } = panel;
    let (kind, options, custom) = match view {
        View::Lines => ("timeseries", graph_options(), json!({"fillOpacity": 10, "showPoints": "never"})),
        View::Bars => (
            "timeseries",
            graph_options(),
            json!({"drawStyle": "bars", "fillOpacity": 80, "lineWidth": 0, "stacking": {"mode": "normal"}}),
        ),
        View::Stat => (
            "stat",
            json!({"reduceOptions": {"calcs": ["lastNotNull"], "values": false}, "colorMode": "none", "graphMode": "none"}),
            json!({}),
        ),
        View::Table => ("table", json!({"cellHeight": "sm", "footer": {"show": false}}), json!({"filterable": true})),
        View::Heatmap => (
            "heatmap",
            json!({"calculate": false, "yAxis": {"unit": unit.id()}, "color": {"mode": "scheme", "scheme": "Spectral"}, "legend": {"show": true}}),
            json!({}),
        ),
    };
    let mut value = json!({
        "id": id,
        "type": kind,
        "title": title,
        "description": about,
        "datasource": source(),
        "gridPos": place,
        "options": options,
        "fieldConfig": {
            "defaults": {"unit": unit.id(), "min": 0, "noValue": "none", "custom": custom},
            "overrides": [],
        },
        "targets": targets.iter().enumerate().map(|(number, query)| target(query, number, *view)).collect::<Vec<_>>(),
    });
    if *unit == Unit::Share {
        value["fieldConfig"]["defaults"]["max"] = json!(1);
    }
    if *view == View::Table {
        value["transformations"] = json!([{"id": "organize", "options": {"excludeByName": {"Time": true}}}]);
        value["fieldConfig"]["overrides"] = links();
    }
    value
}

fn graph_options() -> Value {
    json!({
        "legend": {"displayMode": "table", "placement": "right", "showLegend": true, "calcs": ["max"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    })
}

/// A cause leads to what to do about it, a workload to its own dashboard.
fn links() -> Value {
    let link = |field: &str, title: &str, url: String| {
        json!({
            "matcher": {"id": "byName", "options": field},
            "properties": [{"id": "links", "value": [{"title": title, "url": url, "targetBlank": field == "cause"}]}],
        })
    };
    let service = |namespace: &str| {
        format!(
            "/d/{}?${{datasource:queryparam}}&${{job:queryparam}}&var-namespace=${{__data.fields.{namespace}}}\
             &var-workload=${{__value.raw:percentencode}}&${{__url_time_range}}",
            uid("service")
        )
    };
    json!([
        link("cause", "What it means and what to do", format!("{DOCS}/causes.md#${{__value.raw}}")),
        link("workload", "This workload", service("namespace")),
        link("affected_workload", "This workload", service("affected_namespace")),
    ])
}

fn target(Target { expr, legend }: &Target, number: usize, view: View) -> Value {
    let letter = char::from(b'A' + u8::try_from(number).unwrap_or(25));
    let once = matches!(view, View::Stat | View::Table);
    let format = match view {
        View::Table => "table",
        View::Heatmap => "heatmap",
        View::Lines | View::Bars | View::Stat => "time_series",
    };
    json!({
        "refId": letter.to_string(), "datasource": source(), "expr": expr, "legendFormat": legend,
        "format": format, "instant": once, "range": !once, "exemplar": view == View::Bars, "editorMode": "code",
    })
}
