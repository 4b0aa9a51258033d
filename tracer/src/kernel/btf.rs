//! Member offsets, enum values and tracepoint signatures of the running kernel, from its BTF.
//!
//! One pass over the types collects those whose names [`wanted`] asks for; everything else is looked up from there. The
//! reader is dropped once the facts are taken: it holds several megabytes.

use std::path::{Path, PathBuf};

use libbpf_rs::{
    ErrorKind,
    btf::{
        Btf, BtfKind, BtfType, TypeId,
        types::{self, Composite, MemberAttr},
    },
};
use rustc_hash::FxHashMap;

/// Where the kernel publishes its types.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// Why the kernel's types can't be read.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    #[error("the kernel publishes no type information ({path} does not exist), so its structures can't be read")]
    Missing { path: PathBuf },
    #[error("cannot read the kernel's type information from {path}: {reason}")]
    Unreadable { path: PathBuf, reason: String },
}

/// The running kernel's types.
pub struct KernelBtf {
    btf: Btf<'static>,
    ids: FxHashMap<(Kind, String), TypeId>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Struct,
    Typedef,
    Enum,
}

/// Names that one pass over the types picks up.
fn wanted(kind: Kind, name: &str) -> bool {
    match kind {
        Kind::Struct => super::offsets::structs().any(|wanted| wanted == name),
        Kind::Typedef => name.starts_with("btf_trace_"),
        Kind::Enum => name.contains("drop_reason") || name == "sk_rst_reason",
    }
}

impl KernelBtf {
    /// Reads [`VMLINUX`] or a copy of it.
    pub fn open(path: &Path) -> Result<Self, BtfError> {
        let btf = Btf::from_path(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => BtfError::Missing { path: path.into() },
            _ => BtfError::Unreadable { path: path.into(), reason: format!("{error:#}") },
        })?;
        let mut ids = FxHashMap::default();
        for id in (1..btf.len() as u32).map(TypeId::from) {
            let Some(ty) = btf.type_by_id::<BtfType<'_>>(id) else { continue };
            let kind = match ty.kind() {
                BtfKind::Struct => Kind::Struct,
                BtfKind::Typedef => Kind::Typedef,
                BtfKind::Enum | BtfKind::Enum64 => Kind::Enum,
                _ => continue,
            };
            if let Some(name) = ty.name().and_then(|name| name.to_str())
                && wanted(kind, name)
            {
                ids.entry((kind, name.to_owned())).or_insert(id);
            }
        }
        Ok(Self { btf, ids })
    }

    /// Where `path` (member names joined by dots) is in a structure, in bytes, through anonymous members, typedefs and the
    /// first element of arrays. `None` where any step is missing or is a bit field.
    pub fn offset(&self, structure: &str, path: &str) -> Option<u32> {
        let mut ty = self.named(Kind::Struct, structure)?;
        let mut bits = 0;
        for name in path.split('.') {
            while let Ok(array) = types::Array::try_from(ty) {
                ty = array.contained_type().skip_mods_and_typedefs();
            }
            let (offset, found) = self.find(ty, name)?;
            bits += offset;
            ty = found;
        }
        (bits % 8 == 0).then_some(bits / 8)
    }

    /// A member of `ty` called `name`: its offset in bits and its type. Anonymous members are searched depth first.
    fn find<'a>(&'a self, ty: BtfType<'a>, name: &str) -> Option<(u32, BtfType<'a>)> {
        let composite = Composite::try_from(ty).ok()?;
        for index in 0..composite.len() {
            let member = composite.get(index)?;
            let MemberAttr::Normal { offset } = member.attr else { continue };
            let member_type = self.btf.type_by_id::<BtfType<'_>>(member.ty)?.skip_mods_and_typedefs();
            match member.name {
                Some(found) if found == name => return Some((offset, member_type)),
                Some(_) => {}
                None => {
                    if let Some((inner, found)) = self.find(member_type, name) {
                        return Some((offset + inner, found));
                    }
                }
            }
        }
        None
    }

    /// Argument types of a tracepoint, as in C; `None` where the kernel has no such tracepoint built in.
    pub fn tracepoint(&self, name: &str) -> Option<Vec<String>> {
        // typedef void (*btf_trace_X)(void *__data, …)
        let pointer = self.named(Kind::Typedef, &format!("btf_trace_{name}"))?.skip_mods_and_typedefs();
        let prototype = types::FuncProto::try_from(pointer.next_type()?).ok()?;
        (1..prototype.len()).map(|index| self.describe(prototype.get(index)?.ty)).collect()
    }

    /// Enumerators of an enum, as (value, name); empty where the kernel has no such enum.
    pub fn enumerators(&self, name: &str) -> Vec<(u32, String)> {
        let Some(ty) = self.named(Kind::Enum, name) else { return Vec::new() };
        let mut found = Vec::new();
        if let Ok(small) = types::Enum::try_from(ty) {
            for index in 0..small.len() {
                let Some(member) = small.get(index) else { continue };
                found.extend(
                    member.name.and_then(|name| name.to_str()).map(|name| (member.value as u32, name.to_owned())),
                );
            }
        } else if let Ok(large) = types::Enum64::try_from(ty) {
            for index in 0..large.len() {
                let Some(member) = large.get(index) else { continue };
                found.extend(
                    member.name.and_then(|name| name.to_str()).map(|name| (member.value as u32, name.to_owned())),
                );
            }
        }
        found
    }

    /// Names of the enums that hold drop reasons.
    pub fn drop_reason_enums(&self) -> impl Iterator<Item = &str> {
        self.ids
            .keys()
            .filter(|(kind, name)| *kind == Kind::Enum && name.contains("drop_reason"))
            .map(|(_, n)| n.as_str())
    }

    fn named(&self, kind: Kind, name: &str) -> Option<BtfType<'_>> {
        self.btf.type_by_id(*self.ids.get(&(kind, name.to_owned()))?)
    }

    fn describe(&self, id: TypeId) -> Option<String> {
        let ty = self.btf.type_by_id::<BtfType<'_>>(id)?;
        let name = || ty.name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        Some(match ty.kind() {
            BtfKind::Ptr => match ty.next_type() {
                Some(target) => format!("{} *", self.describe(target.type_id())?),
                None => "void *".to_owned(),
            },
            BtfKind::Const => match ty.next_type() {
                Some(target) => format!("const {}", self.describe(target.type_id())?),
                None => "const void".to_owned(),
            },
            BtfKind::Volatile | BtfKind::Restrict | BtfKind::TypeTag => self.describe(ty.next_type()?.type_id())?,
            BtfKind::Void => "void".to_owned(),
            BtfKind::Struct => format!("struct {}", name()),
            BtfKind::Union => format!("union {}", name()),
            BtfKind::Enum | BtfKind::Enum64 => format!("enum {}", name()),
            _ => name(),
        })
    }
}
