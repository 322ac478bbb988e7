//! Tables of the amounts that each variant adds to `bare`, in any unit.

use super::client::ClientCase;
use super::http2::Server;
use super::sentry_client::{Rate, transactions_of};
use super::table::Table;
use super::{Case, Subject, Variant, subject};

/// Measures one subject, whose name is the first argument.
pub(crate) trait Measure: FnMut(&str, &mut Subject) -> f64 + Send {}

impl<M: FnMut(&str, &mut Subject) -> f64 + Send> Measure for M {}

/// Prints `unit` per request, of each variant in each of `cases`, and of the client layer.
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

/// Prints `unit` per request for requests that are performance transactions.
pub(crate) fn print_transactions(unit: &str, mut measure: impl Measure) {
    check_transactions();
    let mut table = table_of_transactions(unit);
    for case in &Case::TRANSACTIONS {
        let [bare, added @ ..] =
            Variant::MEASURING.map(|variant| of_server(case, variant, &mut measure));
        let added = added.map(|figure| rounded(figure - bare));
        row_of_transactions(&mut table, case, &bare.to_string(), added, |figure| {
            figure.to_string()
        });
    }
    table.print(&title_of_transactions(unit));
}

pub(crate) fn table_of_transactions(unit: &str) -> Table {
    let mut head = vec![format!("{unit} added")];
    head.extend(Variant::MEASURING.map(|variant| variant.name().to_owned()));
    head.extend(["default/peer", "full/peer"].map(str::to_owned));
    Table::new(head)
}

pub(crate) fn row_of_transactions(
    table: &mut Table,
    case: &Case,
    bare: &str,
    added: [f64; 3],
    show: fn(f64) -> String,
) {
    let [peer, full_default, full] = added;
    let mut row = vec![case.name.to_owned(), format!("({bare})")];
    row.extend(added.map(show));
    row.extend([full_default / peer, full / peer].map(|ratio| format!("{ratio:.2}")));
    table.row(row);
}

pub(crate) fn title_of_transactions(unit: &str) -> String {
    format!("Server, with performance transactions: {unit} over bare (of bare itself in brackets)")
}

/// Asserts that each variant sends as many transactions as the case says.
pub(crate) fn check_transactions() {
    for case in &Case::TRANSACTIONS {
        let expected = match case.transactions {
            None => 0,
            Some(Rate::Hundredth) => 1,
            Some(Rate::All) => 100,
        };
        let [bare, others @ ..] = Variant::MEASURING.map(|variant| {
            case.run(|| {
                let mut subject = subject(variant, case);
                transactions_of(|| subject.serve(100))
            })
        });
        assert_eq!((bare, others), (0, [expected; 3]), "{}", case.name);
    }
}

/// Rounds to hundredths, since a difference of such figures is not exact.
pub(crate) fn rounded(figure: f64) -> f64 {
    (figure * 100.0).round() / 100.0
}

/// Prints `unit` per request of whole HTTP/2 servers.
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
