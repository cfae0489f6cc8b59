//! A place in the file, and the notes of what is wrong there.

use std::cell::RefCell;
use std::ops::RangeInclusive;

use serde_json::Value;

use super::field::Field;
use crate::error::FieldError;
use crate::units::ValueError;

/// What was found wrong so far.
#[derive(Default)]
pub(super) struct Notes(RefCell<Vec<FieldError>>);

impl Notes {
    /// The errors, in the order they were found.
    pub(super) fn into_errors(self) -> Vec<FieldError> {
        self.0.into_inner()
    }
}

/// An object of the file or one of its values, by its path.
pub(super) struct At<'a> {
    path: String,
    notes: &'a Notes,
}

impl<'a> At<'a> {
    /// The file.
    pub(super) fn top(notes: &'a Notes) -> Self {
        Self { path: String::new(), notes }
    }

    /// The value of a key of this object.
    pub(super) fn key(&self, key: &str) -> Self {
        let separator = if self.path.is_empty() { "" } else { "." };
        Self { path: format!("{}{separator}{key}", self.path), notes: self.notes }
    }

    /// An item of this list.
    pub(super) fn index(&self, index: usize) -> Self {
        Self { path: format!("{}[{index}]", self.path), notes: self.notes }
    }

    /// Notes what is wrong here: what it is, and what to write instead.
    pub(super) fn wrong(&self, message: impl Into<String>) {
        let error = FieldError { path: self.path.clone(), message: message.into() };
        self.notes.0.borrow_mut().push(error);
    }

    /// Notes an error, if there is one.
    pub(super) fn note<T>(&self, result: Result<T, ValueError>) -> Option<T> {
        result.map_err(|error| self.wrong(error.to_string())).ok()
    }

    /// The value of a key that may be missing; `None` also if it cannot be used.
    pub(super) fn optional<T: Field>(&self, key: &str, value: &Option<Value>) -> Option<T> {
        value.as_ref().and_then(|value| self.key(key).note(T::read(value)))
    }

    /// The value of a key, or what it means that it is missing.
    pub(super) fn or<T: Field>(&self, key: &str, value: &Option<Value>, default: T) -> T {
        self.optional(key, value).unwrap_or(default)
    }

    /// The value of a key that must be there; `hint` says what to write.
    pub(super) fn required<T: Field>(&self, key: &str, value: &Option<Value>, hint: &str) -> Option<T> {
        if value.is_none() {
            self.missing(key, hint);
        }
        self.optional(key, value)
    }

    /// The value of a key that must lie in a range, or what it means that it is missing.
    pub(super) fn within<T>(
        &self,
        key: &str,
        value: &Option<Value>,
        default: T,
        range: RangeInclusive<T>,
    ) -> T
    where
        T: Field + PartialOrd,
    {
        let found = self.or(key, value, default);
        self.check_range(key, &found, range);
        found
    }

    /// Notes a value outside its range.
    pub(super) fn check_range<T: Field + PartialOrd>(&self, key: &str, found: &T, range: RangeInclusive<T>) {
        let (least, most) = (range.start().show(), range.end().show());
        if found < range.start() {
            self.key(key).wrong(format!("{} is too little; write at least {least}", found.show()));
        } else if found > range.end() {
            self.key(key).wrong(format!("{} is too much; write at most {most}", found.show()));
        }
    }

    /// Notes that a key is missing.
    pub(super) fn missing(&self, key: &str, hint: &str) {
        self.key(key).wrong(format!("is missing; {hint}"));
    }

    /// Notes the use of a key that comes to life later.
    pub(super) fn later<T>(&self, key: &str, value: &Option<T>) {
        self.refuse(key, value, "is not supported yet; leave it out");
    }

    /// Notes the use of a key that has no place here.
    pub(super) fn refuse<T>(&self, key: &str, value: &Option<T>, reason: &str) {
        if value.is_some() {
            self.key(key).wrong(reason);
        }
    }

    /// Reads a list of objects or values; a missing one is empty. `None` if an item cannot be used.
    pub(super) fn list<Raw, T>(
        &self,
        key: &str,
        items: &Option<Vec<Raw>>,
        lengths: RangeInclusive<usize>,
        read: impl Fn(&Raw, &At<'a>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let place = self.key(key);
        let items = items.as_deref().unwrap_or_default();
        if items.len() < *lengths.start() {
            place.wrong(format!("is empty or missing; write at least {}", lengths.start()));
        }
        if items.len() > *lengths.end() {
            // The items are not looked at: a file with a million of them gets one error, not a million.
            place.wrong(format!("has {} items; write at most {}", items.len(), lengths.end()));
            return None;
        }
        let read: Vec<Option<T>> =
            items.iter().enumerate().map(|(i, item)| read(item, &place.index(i))).collect();
        read.into_iter().collect()
    }

    /// Reads an item of a list of values.
    pub(super) fn item<T: Field>(value: &Value, at: &At<'a>) -> Option<T> {
        at.note(T::read(value))
    }
}
