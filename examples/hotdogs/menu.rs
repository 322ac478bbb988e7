//! The menu: all that the shop sells. Any other name goes no further than the order that contains it.

use std::fmt;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Dog {
    /// Is served.
    Classic,
    /// Is served.
    Veggie,
    /// Takes its time: the storefront answers while the sausage is on the grill.
    Grilled,
    /// Makes the kitchen panic.
    Chili,
    /// Fails in the kitchen: the mustard is used up.
    Artisanal,
}

impl Dog {
    /// Returns the hot dog that an order or a ticket, `{"dog": "..."}`, asks for, if it is on the menu.
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
