//! Tables of rotary and additive positions.

use burn::tensor::bf16;
use engine::policy::{Grid, RotaryAxes, RotaryConfig, RotaryPairing, RotaryTable};

use super::{number, shape3, yarn};
use crate::case::{Case, Checks, Failure};

pub(super) fn compare_table(
    case: &Case,
    checks: &mut Checks,
    cos: &str,
    sin: &str,
    table: &RotaryTable,
) -> Result<(), Failure> {
    for (name, values) in [(cos, &table.cos), (sin, &table.sin)] {
        let values: Vec<f64> = values.iter().map(|v| f64::from(*v)).collect();
        // Stored with or without axes of size one around rows and channels.
        let shape = case.stored(name)?.shape.clone();
        let sizes: Vec<usize> = shape.iter().copied().filter(|s| *s != 1).collect();
        let shape = if sizes == [table.rows, table.head_dim] {
            shape
        } else {
            vec![table.rows, table.head_dim]
        };
        checks.values(case, name, &shape, &values)?;
    }
    Ok(())
}

/// The table a name such as `3d_official_bov` or `1d_yarn_v1` asks for.
fn named_table(
    case: &Case,
    name: &str,
    head_dim: usize,
    rows: usize,
) -> Result<RotaryTable, Failure> {
    let words: Vec<&str> = name.split('_').collect();
    let has = |word: &str| words.contains(&word);
    let on_grid = has("3d");
    let tiny = words.iter().any(|w| w.starts_with("hd"));
    let sizes = case.config(if tiny { "tiny" } else { "official" });
    let yarn = match (has("yarn"), on_grid) {
        (false, _) => None,
        (true, true) => {
            let config = case.config("yarn_12b");
            Some(yarn(config, shape3(&config["original_latent_shape"])?)?)
        }
        (true, false) => {
            let config = case.config("yarn_1d");
            let length = number(config, "original_seq_len")? as usize;
            Some(yarn(config, [length; 3])?)
        }
    };
    let axes = if on_grid {
        let shape = if tiny { "latent_shape" } else { "video_latent_shape" };
        RotaryAxes::Grid(Grid {
            shape: shape3(&sizes[shape])?,
            begin: has("bov"),
            pad_to_multiple_of: number(sizes, "pad_to_multiple_of")? as usize,
        })
    } else {
        RotaryAxes::Line
    };
    let config = RotaryConfig {
        theta: number(&case.json()["config"], "rope_theta")?,
        axes,
        pairing: if has("v1") { RotaryPairing::Neighbours } else { RotaryPairing::Halves },
        yarn,
    };
    Ok(config.table(head_dim, rows))
}

pub(super) fn tables(case: &Case, checks: &mut Checks) -> Result<(), Failure> {
    for name in case.names("out.cos_").map(str::to_owned).collect::<Vec<_>>() {
        let (cos, sin) = (format!("out.cos_{name}"), format!("out.sin_{name}"));
        let [rows, head_dim] = case.stored(&cos)?.shape[..] else {
            return Err(format!("{cos} is not a table").into());
        };
        // Large tables are stored in part; a stretched one in the rows of its plain sibling.
        let own = format!("in.rows_{name}");
        let picked = if case.has(&own) {
            Some(own)
        } else {
            (name.contains("3d_yarn")).then(|| "in.rows_3d_official".to_owned())
        };
        let picked: Vec<usize> = match picked {
            Some(picked) => case.stored(&picked)?.i64().iter().map(|r| *r as usize).collect(),
            None => (0..rows).collect(),
        };
        let needed = picked.iter().max().map_or(0, |last| last + 1);
        let table = named_table(case, &name, head_dim, needed)?;
        let pick = |values: &[f32]| {
            let row = |r: &usize| values[r * head_dim..(r + 1) * head_dim].iter().copied();
            picked.iter().flat_map(row).collect()
        };
        let part = RotaryTable {
            rows: picked.len(),
            head_dim,
            cos: pick(&table.cos),
            sin: pick(&table.sin),
        };
        compare_table(case, checks, &cos, &sin, &part)?;
    }
    for name in case.names("out.abs_pos").map(str::to_owned).collect::<Vec<_>>() {
        let config = case.config("abs_pos");
        let grid = Grid {
            shape: shape3(&config["latent_shape"])?,
            begin: name.contains("bov"),
            pad_to_multiple_of: number(config, "pad_to_multiple_of")? as usize,
        };
        let dim = number(config, "dim")? as usize;
        let table = grid.additive_table(dim);
        let output = format!("out.abs_pos{name}");
        let shape = [grid.rows(), dim];
        if name.ends_with("bf16") {
            let rounded = table.iter().map(|v| bf16::from_f32(*v).to_f64());
            // Half a unit in the last place of bfloat16: neighbours may round apart.
            let values: Vec<f64> = rounded.collect();
            checks.within(case, &output, &shape, &values, 0.0, 1.0 / 128.0)?;
        } else {
            let values: Vec<f64> = table.iter().map(|v| f64::from(*v)).collect();
            checks.values(case, &output, &shape, &values)?;
        }
    }
    Ok(())
}
