//! The menu: all that the shop sells. Any other name goes no further than the order that contains it.

use std::fmt;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Dog {
    /// Is served.
    Classic,
    /// Is served.
    Veggie,
    /// Is served, but its address does not exist: the courier fails, after the page has its answer.
    Lunar,
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
            "lunar" => Some(Self::Lunar),
            "grilled" => Some(Self::Grilled),
            "chili" => Some(Self::Chili),
            "artisanal" => Some(Self::Artisanal),
            _ => None,
        }
    }

    /// Returns the address that the customer of this hot dog gives.
    pub(crate) fn address(self) -> &'static str {
        match self {
            Self::Lunar => "the Sea of Tranquility",
            _ => "12 Bun Street",
        }
    }
}

impl fmt::Display for Dog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Classic => "classic",
            Self::Veggie => "veggie",
            Self::Lunar => "lunar",
            Self::Grilled => "grilled",
            Self::Chili => "chili",
            Self::Artisanal => "artisanal",
        })
    }
}
