//! Environment for `subPathExpr`: Kubernetes expands it with the variables of the container that mounts, so the
//! sidecar needs those that it names, as the app has them, and no others.

use k8s_openapi::api::core::v1::{Container, EnvVar};

/// Adds what the expression names, and what that in turn is made from, before it.
pub fn add_environment(env: &mut Vec<EnvVar>, container: &Container, expression: &str) -> Result<(), String> {
    let mut needed = env.clone();
    let all = container.env.as_deref().unwrap_or_default();
    add_named(&mut needed, all, expression)?;
    *env = needed;
    Ok(())
}

fn add_named(env: &mut Vec<EnvVar>, all: &[EnvVar], expression: &str) -> Result<(), String> {
    for name in variables(expression) {
        // Of two definitions the last one counts, and it may refer to those before it.
        let Some(index) = all.iter().rposition(|variable| variable.name == name) else {
            return Err(format!(
                "its sub-path needs the variable {name}; define it under `env` of the container"
            ));
        };
        let variable = &all[index];
        if let Some(other) = env.iter().find(|other| other.name == name) {
            if other == variable {
                continue;
            }
            return Err(format!("two containers give the variable {name} different values; rename one"));
        }
        if name.starts_with("CAPSTAN_") {
            return Err(format!(
                "its sub-path needs the variable {name}, a name of the sidecar's own; rename it"
            ));
        }
        if !is_readable(variable) {
            return Err(format!(
                "its sub-path needs the variable {name}, which is neither a value nor from a field, Secret or ConfigMap"
            ));
        }
        add_named(env, &all[..index], variable.value.as_deref().unwrap_or_default())?;
        env.push(variable.clone());
    }
    Ok(())
}

/// Sources that are newer than this program's view of the API would be lost in a copy.
fn is_readable(variable: &EnvVar) -> bool {
    variable.value_from.as_ref().is_none_or(|from| {
        from.field_ref.is_some()
            || from.secret_key_ref.is_some()
            || from.config_map_key_ref.is_some()
            || from.resource_field_ref.is_some()
    })
}

/// The names in `$(NAME)`; `$$(NAME)` is none.
pub fn variables(expression: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(index) = rest.find('$') {
        rest = &rest[index + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
            found.push(name);
            rest = after;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_escapes_are_none() {
        assert_eq!(variables("$(A)/x-$(B)"), ["A", "B"]);
        assert!(variables("$$(A) $A $(A $").is_empty());
        assert_eq!(variables("$$$(A)"), ["A"]);
    }

    fn variable(name: &str, value: &str) -> EnvVar {
        EnvVar { name: name.into(), value: Some(value.into()), value_from: None }
    }

    #[test]
    fn a_variable_brings_what_it_is_made_from_and_nothing_else() {
        let env = vec![variable("A", "1"), variable("SECRET", "x"), variable("B", "$(A)-2")];
        let container = Container { env: Some(env), ..Default::default() };
        let mut needed = Vec::new();
        add_environment(&mut needed, &container, "logs/$(B)").unwrap();
        assert_eq!(needed, [variable("A", "1"), variable("B", "$(A)-2")]);
    }

    #[test]
    fn a_variable_that_is_not_there_is_named() {
        let problem = add_environment(&mut Vec::new(), &Container::default(), "$(POD)").unwrap_err();
        assert_eq!(problem, "its sub-path needs the variable POD; define it under `env` of the container");
    }
}
