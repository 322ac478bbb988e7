//! Tables of the amounts that each variant adds to `bare`, for any measure.

use super::client::ClientCase;
use super::http2::Server;
use super::table::Table;
use super::{Case, Subject, Variant, subject};

/// Measures one subject, known by its name.
pub(crate) trait Measure: FnMut(&str, &mut Subject) -> f64 + Send {}

impl<M: FnMut(&str, &mut Subject) -> f64 + Send> Measure for M {}

/// `unit` per request: of each variant in each of `cases`, and of the client layer.
pub(crate) fn print(unit: &str, cases: &[Case], mut measure: impl Measure) {
    let mut head = vec![format!("{unit} added")];
    head.extend(Variant::ALL.map(|variant| variant.name().to_owned()));
    let mut table = Table::new(head);
    for case in cases {
        let figures = Variant::ALL.map(|variant| of_server(case, variant, &mut measure));
        let bare = figures[0];
        let mut row = vec![case.name.to_owned(), format!("({bare})")];
        row.extend(figures[1..].iter().map(|figure| (figure - bare).to_string()));
        table.row(row);
    }
    table.print(&format!("Server: {unit} over bare (of bare itself in brackets)"));

    let mut table = Table::new([&format!("{unit} added"), "bare", "ours"]);
    for case in &ClientCase::ALL {
        let [bare, ours] =
            [false, true].map(|with_layer| of_client(case, with_layer, &mut measure));
        table.row([case.name.to_owned(), format!("({bare})"), (ours - bare).to_string()]);
    }
    table.print(&format!("Client layer: {unit} over bare"));
}

/// `unit` per request of whole HTTP/2 servers.
pub(crate) fn print_http2(unit: &str, mut measure: impl Measure) {
    let mut table = Table::new(["server", &format!("{unit} added")]);
    let mut bare: Option<f64> = None;
    for server in Server::ALL {
        let figure = of_http2(server, &mut measure);
        let cell = match bare {
            Some(bare) => (figure - bare).to_string(),
            None => format!("({})", bare.insert(figure)),
        };
        table.row([server.name().to_owned(), cell]);
    }
    table.print(&format!("HTTP/2, generate, on: {unit} over bare (of bare itself in brackets)"));
}

pub(crate) fn of_http2(server: Server, measure: &mut impl Measure) -> f64 {
    let name = format!("HTTP/2 {}", server.name());
    Case::GENERATE_ON.run(|| measure(&name, &mut server.subject()))
}

pub(crate) fn of_server(case: &Case, variant: Variant, measure: &mut impl Measure) -> f64 {
    let name = format!("{} {}", case.name, variant.name());
    case.run(|| measure(&name, &mut subject(variant, case)))
}

pub(crate) fn of_client(case: &ClientCase, with_layer: bool, measure: &mut impl Measure) -> f64 {
    let name = format!("{} {}", case.name, if with_layer { "ours" } else { "bare" });
    case.run(|| measure(&name, &mut case.subject(with_layer)))
}
