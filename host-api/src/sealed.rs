//! "Nothing secret implements Debug or Serialize, and all of it is wiped": claims that the compiler holds. Each stands
//! below the types that it is about, since most of those are private.

/// Types that hold a secret in the clear can be neither printed nor serialized.
macro_rules! never_shown {
    ($($name:ty),+ $(,)?) => {
        $(static_assertions::assert_not_impl_any!($name: std::fmt::Debug, std::fmt::Display, serde::Serialize);)+
    };
}

/// Types that own a secret's bytes, which are overwritten when the value goes.
macro_rules! wiped {
    ($($name:ty),+ $(,)?) => {
        $(static_assertions::assert_impl_all!($name: zeroize::ZeroizeOnDrop);)+
    };
}
