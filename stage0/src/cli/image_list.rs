//! `rkt image list`.

use std::cmp::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use appc::json::{self, Json};
use stage0::store::{Image, unique_sizes};

use super::table::Table;
use super::{Command, Context, ExitCode, Failure, Flag, Grammar, Parsed, json_format, size, time};

/// The columns, by the word that asks for each and its title.
const FIELDS: [(&str, &str); 5] = [
    ("id", "ID"),
    ("name", "NAME"),
    ("size", "SIZE"),
    ("importtime", "IMPORT TIME"),
    ("lastused", "LAST USED"),
];

/// Digits of an id that are enough for people.
const SHORT: usize = 12;

/// How it is called.
pub(crate) const COMMAND: Command = Command {
    name: "image list",
    summary: "List images in the local store",
    usage: "",
    description: "",
    grammar: Grammar::Words,
    flags: &[
        Flag::value(
            "fields",
            "id,name,size,importtime,lastused",
            "comma-separated list of fields to display. Accepted values: id, name, size, importtime, lastused",
        )
        .check(fields),
        Flag::value("format", "", "choose the output format. Accepted values: json, json-pretty")
            .check(json_format),
        Flag::bool("full", "use long output format"),
        Flag::bool("no-legend", "suppress a legend with the list"),
        Flag::value("order", "asc", "choose the sorting order. Accepted values: asc, desc")
            .check(order),
        Flag::value(
            "sort",
            "importtime",
            "sort the output according to the provided field. Accepted values: name, importtime, lastused, size",
        )
        .check(sort),
    ],
};

fn fields(text: &str) -> Result<(), String> {
    let unknown = |word: &&str| !FIELDS.iter().any(|(name, _)| name == word);
    match text.split(',').find(unknown) {
        Some(word) => Err(format!("unknown field {word:?}")),
        None => Ok(()),
    }
}

fn order(text: &str) -> Result<(), String> {
    match text {
        "asc" | "desc" => Ok(()),
        _ => Err("wrong sort order".to_owned()),
    }
}

fn sort(text: &str) -> Result<(), String> {
    match text {
        "name" | "importtime" | "lastused" | "size" => Ok(()),
        _ => Err("wrong sort field".to_owned()),
    }
}

/// Lists the images of the store.
pub(crate) fn run(cx: &Context, args: &Parsed) -> Result<ExitCode, Failure> {
    let [] = args.exactly()?;
    let mut images =
        cx.store()?.images().map_err(|error| Failure::because("unable to get images", error))?;
    let by = |a: &Image, b: &Image| match args.value("sort") {
        Some("name") => a.shown_name().cmp(&b.shown_name()),
        Some("lastused") => a.last_used.cmp(&b.last_used),
        Some("size") => a.size.cmp(&b.size),
        _ => Ordering::Equal,
    };
    // They come sorted by import time, which stays the order of equals.
    images.sort_by(by);
    if args.value("order") == Some("desc") {
        images.reverse();
    }
    match args.value("format") {
        Some("json") => cx.print(&json::compact(&listing(&images))),
        Some("json-pretty") => cx.print(&json::pretty(&listing(&images), "\t")),
        _ => {
            let text = table(&images, args);
            if !text.is_empty() {
                cx.print(&text);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn listing(images: &[Image]) -> Json {
    let object = |(image, unique): (&Image, u64)| {
        Json::object([
            ("id", image.id.as_str().into()),
            ("name", image.shown_name().into()),
            ("import_time", nanos(image.import_time).into()),
            ("last_used_time", nanos(image.last_used).into()),
            ("size", image.size.into()),
            ("unique_size", unique.into()),
        ])
    };
    Json::List(images.iter().zip(unique_sizes(images)).map(object).collect())
}

fn table(images: &[Image], args: &Parsed) -> String {
    let fields: Vec<&str> = args.value("fields").unwrap_or_default().split(',').collect();
    let title =
        |field: &&str| FIELDS.iter().find(|(name, _)| name == field).map(|(_, title)| title);
    let full = args.bool("full");
    let now = SystemTime::now();
    let when = |at: SystemTime| {
        if full { time::absolute(Some(at)) } else { time::relative(Some(at), now) }
    };
    let cell = |image: &Image, field: &str| match field {
        "id" if full => image.id.to_string(),
        "id" => image.id.short(SHORT).to_owned(),
        "name" => image.shown_name(),
        "size" if full => image.size.to_string(),
        "size" => size::iec(image.size),
        "importtime" => when(image.import_time),
        _ => when(image.last_used),
    };
    let mut table = Table::new();
    if !args.bool("no-legend") {
        table.row(fields.iter().filter_map(title));
    }
    for image in images {
        table.row(fields.iter().map(|field| cell(image, field)));
    }
    table.render()
}
