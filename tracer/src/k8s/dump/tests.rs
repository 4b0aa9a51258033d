//! Dumps as people save them, whole and broken.

use rstest::rstest;

use super::{Dump, DumpError, load, parse};

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {namespace: shop, name: cart}\n";

fn names(dump: &Dump) -> Vec<&str> {
    dump.objects.pods.iter().map(|pod| pod.metadata.name.as_str()).collect()
}

#[rstest]
#[case::yaml_object("apiVersion: v1\nkind: Pod\nmetadata: {name: a}", &["a"])]
#[case::yaml_documents("---\napiVersion: v1\nkind: Pod\nmetadata: {name: a}\n---\n---\n# nothing\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: b}\n...\n", &["a", "b"])]
#[case::yaml_list_with_the_kind_last("apiVersion: v1\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: a}}\n- {apiVersion: v1, kind: Pod, metadata: {name: b}}\nkind: List\nmetadata: {resourceVersion: ''}", &["a", "b"])]
#[case::json_object(r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"}}"#, &["a"])]
#[case::json_typed_list(r#"{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[{"metadata":{"name":"a"}},{"metadata":{"name":"b"}}]}"#, &["a", "b"])]
#[case::json_typed_list_with_the_kind_last(r#"{"items":[{"metadata":{"name":"a"}}],"apiVersion":"v1","kind":"PodList"}"#, &["a"])]
#[case::json_documents("  {\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"a\"}}\n{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"b\"}}\n", &["a", "b"])]
#[case::json_after_a_byte_order_mark("\u{feff}{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"a\"}}", &["a"])]
#[case::list_of_nothing("apiVersion: v1\nkind: List\nitems: []", &[])]
#[case::list_of_null("apiVersion: v1\nkind: PodList\nitems: null", &[])]
#[case::list_without_items("apiVersion: v1\nkind: PodList\nmetadata: {}", &[])]
#[case::nulls_are_absent("apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: null, creationTimestamp: null}\nspec: null\nstatus: {podIP: '', podIPs: null}", &["a"])]
#[case::unknown_fields("apiVersion: v1\nkind: Pod\nmetadata: {name: a, managedFields: [{x: 1}]}\nspec: {dnsPolicy: ClusterFirst}\nfuture: .nan", &["a"])]
#[case::names_that_look_like_other_types("{apiVersion: v1, kind: Pod, metadata: {name: y, labels: {a: on, b: 'true', c: 0123456, d: 1_000, e: 12:30:45, f: 2026-11-22}}}", &["y"])]
#[case::anchors("apiVersion: v1\nkind: Pod\nmetadata: {name: &n a, labels: {app: *n}}", &["a"])]
#[case::nothing("", &[])]
#[case::blanks(" \n\n\t\n", &[])]
#[case::comments("# nothing here\n", &[])]
fn a_dump_is_understood(#[case] text: &str, #[case] expected: &[&str]) {
    let dump = parse("dump", text.as_bytes()).unwrap();
    assert_eq!(names(&dump), expected);
    assert!(dump.skipped.is_empty());
}

#[test]
fn kinds_that_are_not_read_are_counted() {
    let text = "
{apiVersion: v1, kind: List, items: [
  {apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {items: x}},
  {apiVersion: v1, kind: ConfigMap, metadata: {name: b}},
  {apiVersion: example.org/v3, kind: NetworkPolicy, metadata: {name: c}, spec: {selector: all()}},
  {apiVersion: serving.knative.dev/v1, kind: Service, metadata: {name: d}}]}";
    let dump = parse("dump", format!("--- {text}\n---\n{POD}").as_bytes()).unwrap();
    let expected = [("ConfigMap", 2), ("NetworkPolicy (example.org/v3)", 1), ("Service (serving.knative.dev/v1)", 1)];
    assert_eq!(dump.skipped, expected.map(|(kind, count)| (kind.to_owned(), count)).into());
    assert_eq!(names(&dump), ["cart"]);
}

#[test]
fn of_a_pod_only_what_tells_something_is_kept() {
    let text = format!(
        "{POD}spec: {{containers: [{{name: c, resources: {{limits: {{cpu: 2, memory: 512Mi, gpu: 1}}}}}}]}}
status: {{conditions: [{{type: Initialized, status: 'True'}}, {{type: Ready, status: 'True'}}, {{type: PodScheduled, status: 'False'}}]}}"
    );
    let dump = parse("dump", text.as_bytes()).unwrap();
    let pod = &dump.objects.pods[0];
    let limits = &pod.spec.containers[0].resources.limits;
    assert_eq!((limits.cpu.as_deref(), limits.memory.as_deref()), (Some("2"), Some("512Mi")));
    let kinds: Vec<_> = pod.status.conditions.iter().map(|condition| condition.kind.as_str()).collect();
    assert_eq!(kinds, ["Ready", "PodScheduled"]);
}

#[rustfmt::skip] // one row a line
#[rstest]
#[case::yaml_syntax("a: [1", "`dump`: document 1: not valid YAML: ")]
#[case::yaml_syntax_in_a_later_document("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n---\na: b: c\n", "`dump`: document 2: not valid YAML: ")]
#[case::yaml_duplicate_key("apiVersion: v1\nkind: Pod\nkind: Pod\n", "`dump`: document 1: not valid YAML: duplicate mapping key: kind")]
#[case::yaml_scalar("just text", "`dump`: document 1: not valid YAML: invalid type: string \"just text\", expected a Kubernetes object")]
#[case::yaml_sequence("- a\n- b\n", "`dump`: document 1: not valid YAML: invalid type: sequence, expected a Kubernetes object")]
#[case::json_syntax("{\"kind\": \"Pod\",", "`dump`: document 1: not valid JSON: EOF while parsing")]
#[case::json_garbage_after("{\"kind\":\"List\",\"items\":[]} x", "`dump`: document 2: not valid JSON: expected value at line 1 column 28")]
#[case::json_deep("{\"a\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", "`dump`: document 1: not valid JSON: recursion limit exceeded")]
#[case::yaml_deep("- [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", "`dump`: document 1: not valid YAML: ")]
#[case::no_kind("metadata: {name: a}", "`dump`: document 1: object: no `kind`; a Kubernetes object has `apiVersion` and `kind`")]
#[case::no_name("apiVersion: v1\nkind: Pod\nmetadata: {namespace: a}", "`dump`: document 1: Pod: metadata.name: an object must have a name")]
#[case::item_is_a_scalar("apiVersion: v1\nkind: List\nitems: [3]", "`dump`: document 1: items[0]: object: a Kubernetes object is a mapping with `apiVersion` and `kind`, this is a number")]
#[case::item_without_kind("apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: Secret}, {metadata: {name: a}}]", "`dump`: document 1: items[1]: object: no `kind`;")]
#[case::items_are_a_mapping("apiVersion: v1\nkind: List\nitems: {a: 1}", "`dump`: document 1: not valid YAML: invalid type: map, expected a list of Kubernetes objects")]
#[case::field_of_the_wrong_type("apiVersion: v1\nkind: Pod\nmetadata: {namespace: shop, name: cart}\nspec: {containers: {name: c}}", "`dump`: document 1: Pod shop/cart: spec.containers: invalid type: map, expected a sequence")]
#[case::label_is_a_number("apiVersion: v1\nkind: Pod\nmetadata: {name: cart, labels: {version: 2}}", "`dump`: document 1: Pod cart: metadata.labels.version: invalid type: integer `2`, expected a string")]
#[case::address("apiVersion: v1\nkind: Pod\nmetadata: {name: cart}\nstatus: {podIP: 10.1.0.256}", "`dump`: document 1: Pod cart: status.podIP: \"10.1.0.256\" is not an IP address")]
#[case::port_out_of_range("apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {ports: [{port: 80}, {port: 81, targetPort: 70000}]}", "`dump`: document 1: Service s: spec.ports[1].targetPort: invalid value: integer `70000`, expected a port number (0 to 65535) or the name of a container port")]
#[case::policy_block("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {namespace: shop, name: p}\nspec: {ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/33}}]}]}", "`dump`: document 1: NetworkPolicy shop/p: spec.ingress[0].from[0].ipBlock.cidr: invalid IP address syntax")]
#[case::policy_operator("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\nspec: {podSelector: {matchExpressions: [{key: a, operator: Equals}]}}", "`dump`: document 1: NetworkPolicy p: spec.podSelector.matchExpressions[0].operator: unknown variant `Equals`, expected one of `In`, `NotIn`, `Exists`, `DoesNotExist`")]
#[case::policy_type("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\nspec: {policyTypes: [ingress]}", "`dump`: document 1: NetworkPolicy p: spec.policyTypes[0]: unknown variant `ingress`, expected `Ingress` or `Egress`")]
#[case::protocol("apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {ports: [{port: 80, protocol: HTTP}]}", "`dump`: document 1: Service s: spec.ports[0].protocol: unknown variant `HTTP`")]
#[case::later_item("{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"a\"}},{\"apiVersion\":\"v1\",\"kind\":\"Node\",\"metadata\":{\"name\":\"n\"},\"status\":{\"addresses\":[1]}}]}", "`dump`: document 1: items[1]: Node n: status.addresses[0]: invalid type: integer `1`")]
fn a_broken_dump_says_where(#[case] text: &str, #[case] expected: &str) {
    let error = parse("dump", text.as_bytes()).unwrap_err().to_string();
    assert!(error.starts_with(expected), "\n got {error}\nwant {expected}");
}

#[rstest]
#[case::binary(b"\xff\xfe\x00\x01\x02")]
#[case::not_utf8(b"apiVersion: v1\nkind: \xc3\x28\n")]
#[case::not_utf8_json(b"{\"kind\": \"\xc3\x28\"}")]
#[case::control_characters(b"kind: \x00\x07\n")]
#[case::truncated_escape(b"{\"kind\": \"\\u12")]
fn bytes_that_are_no_text_are_an_error(#[case] bytes: &[u8]) {
    assert!(matches!(parse("dump", bytes), Err(DumpError::Syntax { document: 1, .. })));
}

/// Every prefix of a dump, and every dump with one byte replaced, gives a result or an error.
#[test]
fn damaged_bytes_never_panic() {
    let json = r#"{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{"containers":[{"name":"c","ports":[{"containerPort":80}]}]}}]}"#;
    let yaml =
        format!("---\n{POD}spec:\n  containers:\n  - name: &c c\n    ports: [{{containerPort: 80}}]\n  nodeName: *c\n");
    for text in [json, &yaml] {
        for at in 0..text.len() {
            parse("dump", &text.as_bytes()[..at]).ok();
            for byte in [b'\0', b'\n', b'\t', b'{', b']', b'"', b':', b'*', 0xff] {
                let mut bytes = text.as_bytes().to_vec();
                bytes[at] = byte;
                parse("dump", &bytes).ok();
            }
        }
    }
}

#[test]
fn an_alias_bomb_is_refused() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let alias = format!("*a{}", level - 1);
        text.push_str(&format!("a{level}: &a{level} [{}]\n", [alias.as_str(); 10].join(", ")));
    }
    assert!(matches!(parse("dump", text.as_bytes()), Err(DumpError::Syntax { .. })));
}

#[test]
fn directories_are_read_recursively_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let pod = |name: &str| format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\n");
    std::fs::create_dir_all(directory.path().join("shop")).unwrap();
    std::fs::create_dir_all(directory.path().join(".git")).unwrap();
    for (file, name) in
        [("b.yml", "b"), ("a.yaml", "a"), ("shop/c.json", "c"), (".git/x.yaml", "x"), ("notes.txt", "y")]
    {
        std::fs::write(directory.path().join(file), pod(name)).unwrap();
    }
    let extra = directory.path().join("notes.txt");
    let dump = load(&[directory.path(), &extra]).unwrap();
    assert_eq!(names(&dump), ["a", "b", "c", "y"], "a file given by name is read whatever its name");
}

#[test]
fn a_path_without_dumps_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let message = load(&[directory.path()]).unwrap_err().to_string();
    assert!(message.contains("holds no *.yaml, *.yml or *.json file"), "{message}");
    let missing = directory.path().join("missing.yaml");
    let message = load(&[&missing]).unwrap_err().to_string();
    assert!(message.starts_with("cannot read `") && message.contains("missing.yaml"), "{message}");
}
