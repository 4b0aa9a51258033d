//! Paths as the kubelet drivers and runtimes make them.

use rstest::rstest;

use super::*;

const UID: &str = "0f5e9a6c-1b2d-4c3e-8f70-a1b2c3d4e5f6";
const HASH: &str = "0123456789abcdef0123456789abcdef";
const ID: &str = "aaaaaaaabbbbbbbbccccccccddddddddaaaaaaaabbbbbbbbccccccccdddddddd";
const OUTER: &str = "1111111122222222333333334444444411111111222222223333333344444444";

/// `U` is the UID, `V` the same with underscores, `H` a static pod's hash, `I` the container id, `O` an outer one.
fn path(pattern: &str) -> String {
    let substitute = |c: char| match c {
        'U' => UID.to_owned(),
        'V' => UID.replace('-', "_"),
        'H' => HASH.to_owned(),
        'I' => ID.to_owned(),
        'O' => OUTER.to_owned(),
        c => c.to_string(),
    };
    pattern.chars().map(substitute).collect()
}

#[rustfmt::skip] // one row a line
#[rstest]
#[case::systemd_containerd("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podV.slice/cri-containerd-I.scope", Some(UID), Some(ID), Some(Runtime::Containerd))]
#[case::systemd_containerd_guaranteed("/kubepods.slice/kubepods-podV.slice/cri-containerd-I.scope", Some(UID), Some(ID), Some(Runtime::Containerd))]
#[case::systemd_containerd_besteffort("/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podV.slice/cri-containerd-I.scope", Some(UID), Some(ID), Some(Runtime::Containerd))]
#[case::systemd_crio("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podV.slice/crio-I.scope", Some(UID), Some(ID), Some(Runtime::Crio))]
#[case::systemd_crio_crun("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podV.slice/crio-I.scope/container", Some(UID), Some(ID), Some(Runtime::Crio))]
#[case::systemd_crio_conmon("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podV.slice/crio-conmon-I.scope", Some(UID), None, None)]
#[case::systemd_docker("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podV.slice/docker-I.scope", Some(UID), Some(ID), Some(Runtime::Docker))]
#[case::systemd_podman("/kubepods.slice/kubepods-podV.slice/libpod-I.scope", Some(UID), Some(ID), Some(Runtime::Podman))]
#[case::systemd_static_pod("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podH.slice/cri-containerd-I.scope", Some(HASH), Some(ID), Some(Runtime::Containerd))]
#[case::cgroupfs_containerd("/kubepods/burstable/podU/I", Some(UID), Some(ID), None)]
#[case::cgroupfs_guaranteed("/kubepods/podU/I", Some(UID), Some(ID), None)]
#[case::cgroupfs_crio("/kubepods/besteffort/podU/crio-I", Some(UID), Some(ID), Some(Runtime::Crio))]
#[case::cgroupfs_static_pod("/kubepods/burstable/podH/I", Some(HASH), Some(ID), None)]
#[case::mixed_drivers("/system.slice/kubepods-burstable-podV.slice:cri-containerd:I", Some(UID), Some(ID), Some(Runtime::Containerd))]
#[case::mixed_drivers_at_the_root("kubepods-burstable-podV.slice:cri-containerd:I", Some(UID), Some(ID), Some(Runtime::Containerd))]
#[case::mixed_drivers_crio("/kubepods-podV.slice:crio:I", Some(UID), Some(ID), Some(Runtime::Crio))]
#[case::kind_systemd("/system.slice/docker-O.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-podV.slice/cri-containerd-I.scope", Some(UID), Some(ID), Some(Runtime::Containerd))]
#[case::kind_cgroupfs("/docker/O/kubelet/kubepods/burstable/podU/I", Some(UID), Some(ID), None)]
#[case::cluster_in_a_pod("/kubepods/burstable/podH/O/kubepods/podU/I", Some(UID), Some(ID), None)]
#[case::systemd_in_the_container("/kubepods.slice/kubepods-podV.slice/cri-containerd-I.scope/init.scope", Some(UID), Some(ID), Some(Runtime::Containerd))]
#[case::delegated_below_the_container("/kubepods/podU/I/system.slice/deadbeefdead.service", Some(UID), Some(ID), None)]
#[case::hex_below_the_container("/kubepods/podU/I/O", Some(UID), Some(ID), None)]
#[case::short_id("/kubepods/podU/abcdef012345", Some(UID), Some("abcdef012345"), None)]
#[case::too_short_for_an_id("/kubepods/podU/abcdef01234", Some(UID), None, None)]
#[case::no_hex("/kubepods/podU/web-container-1", Some(UID), None, None)]
#[case::short_hex_further_down("/kubepods/podU/web/abcdef012345", Some(UID), None, None)]
#[case::pod_alone("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podV.slice", Some(UID), None, None)]
#[case::relative_and_doubled_slashes("kubepods//podU//I/", Some(UID), Some(ID), None)]
#[case::plain_docker("/system.slice/docker-I.scope", None, Some(ID), Some(Runtime::Docker))]
#[case::plain_docker_cgroupfs("/docker/I", None, Some(ID), None)]
#[case::plain_podman("/machine.slice/libpod-I.scope/container", None, Some(ID), Some(Runtime::Podman))]
fn a_cgroup_path_is_read(#[case] pattern: &str, #[case] uid: Option<&str>, #[case] id: Option<&str>, #[case] runtime: Option<Runtime>) {
    let expected = ContainerRef { pod_uid: uid.map(str::to_owned), container_id: id.map(str::to_owned), runtime };
    assert_eq!(parse_cgroup_path(&path(pattern)), Some(expected));
}

#[rstest]
#[case::root("/")]
#[case::empty("")]
#[case::service("/system.slice/kubelet.service")]
#[case::session("/user.slice/user-1000.slice/session-3.scope")]
#[case::kubepods_alone("/kubepods.slice/kubepods-burstable.slice")]
#[case::conmon_alone("/machine.slice/libpod-conmon-I.scope")]
#[case::hex_outside_a_pod("/system.slice/deadbeefdead")]
#[case::uid_too_long("/kubepods/podU0")]
#[case::uid_too_short("/kubepods/pod0123456789")]
#[case::word_that_ends_in_pod("/system.slice/tripodU")]
#[case::other_letters(
    "/kubepods/pod\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}"
)]
fn other_paths_name_nobody(#[case] pattern: &str) {
    assert_eq!(parse_cgroup_path(&path(pattern)), None);
}
