//! What commands print as JSON: each field once, with its type, its value and, as its comment, what docs/json.md tells
//! of it. The page is made from these, so a field that it does not tell of can't be printed.

/// Structs with the values of their fields: in `struct Line<'a>(key: &'a Entry) { label: &'a str = &key.label, }` the
/// field is made from `key`, which `Line::of` takes.
macro_rules! printed {
    ($($(#[$about:meta])* $seen:vis struct $name:ident $(<$life:lifetime>)? ($($from:ident: $of:ty),* $(,)?) {
        $($(#[$tells:meta])* $field:ident: $ty:ty = $value:expr,)*
    })*) => {$(
        $(#[$about])*
        #[derive(serde::Serialize)]
        $seen struct $name $(<$life>)? { $($(#[$tells])* $field: $ty,)* }

        impl $(<$life>)? $name $(<$life>)? {
            $seen fn of($($from: $of),*) -> Self {
                Self { $($field: $value,)* }
            }
        }
    )*};
}
pub(super) use printed;
