//! Enumerations as the file spells them: the names that are accepted, and those that are valid in the API but come
//! to life later.

/// An enumeration with a name for each value.
pub(crate) trait Choice: Copy + PartialEq + 'static {
    /// Every value with its name in the file.
    const NAMES: &'static [(Self, &'static str)];
    /// Names that are refused as "not supported yet".
    const LATER: &'static [&'static str];
}

/// Declares an enumeration, its names in the file, and the names that come to life later.
macro_rules! choice {
    (
        $(#[$doc:meta])*
        $type:ident { $( $(#[$variant_doc:meta])* $variant:ident = $name:literal, )+ }
        later $later:expr
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $type { $( $(#[$variant_doc])* $variant, )+ }

        impl $type {
            /// The name in the file.
            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => $name, )+ }
            }
        }

        impl crate::types::Choice for $type {
            const NAMES: &'static [(Self, &'static str)] = &[ $( (Self::$variant, $name), )+ ];
            const LATER: &'static [&'static str] = &$later;
        }
    };
}

pub(crate) use choice;
