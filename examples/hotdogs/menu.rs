//! What the shop sells. Only what is on it travels further than the request that named it.

use std::fmt;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Dog {
    /// Is served.
    Classic,
    /// Is served.
    Veggie,
    /// Takes its time: the storefront answers while it grills.
    Grilled,
    /// Has the kitchen panic.
    Chili,
    /// Fails in the kitchen: the mustard is used up.
    Artisanal,
}

impl Dog {
    /// The dog that an order or a ticket, `{"dog": "..."}`, asks for.
    pub(crate) fn wanted(order: &serde_json::Value) -> Option<Self> {
        match order.get("dog")?.as_str()? {
            "classic" => Some(Self::Classic),
            "veggie" => Some(Self::Veggie),
            "grilled" => Some(Self::Grilled),
            "chili" => Some(Self::Chili),
            "artisanal" => Some(Self::Artisanal),
            _ => None,
        }
    }
}

impl fmt::Display for Dog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Classic => "classic",
            Self::Veggie => "veggie",
            Self::Grilled => "grilled",
            Self::Chili => "chili",
            Self::Artisanal => "artisanal",
        })
    }
}
