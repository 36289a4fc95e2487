//! SPDX 2.3 as JSON (spdx.github.io/spdx-spec/v2.3).

use oci::Digest;
use serde_json::{Value, json};

use super::Package;
use crate::options::rfc3339;

const NONE: &str = "NOASSERTION";

/// A document that says which packages an image contains. `config` is the digest of the image's config, which names the document.
pub(super) fn document(name: &str, config: &Digest, created: i64, packages: &[Package]) -> Value {
    let image = json!({
        "SPDXID": "SPDXRef-DocumentRoot-Image",
        "name": name,
        "versionInfo": config.as_str(),
        "supplier": NONE,
        "downloadLocation": NONE,
        "filesAnalyzed": false,
        "licenseConcluded": NONE,
        "licenseDeclared": NONE,
        "copyrightText": NONE,
        "primaryPackagePurpose": "CONTAINER",
    });
    let mut all = vec![image];
    let mut relationships = vec![json!({
        "spdxElementId": "SPDXRef-DOCUMENT",
        "relationshipType": "DESCRIBES",
        "relatedSpdxElement": "SPDXRef-DocumentRoot-Image",
    })];
    for (number, package) in packages.iter().enumerate() {
        let id = identifier(package, number);
        let mut value = json!({
            "SPDXID": id,
            "name": package.name,
            "supplier": NONE,
            "downloadLocation": NONE,
            "filesAnalyzed": false,
            "licenseConcluded": NONE,
            "licenseDeclared": NONE,
            "copyrightText": NONE,
            "sourceInfo": format!("found in /{}", package.path),
            "externalRefs": [{
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": package.url,
            }],
        });
        if !package.version.is_empty() {
            value["versionInfo"] = package.version.as_str().into();
        }
        // Databases have texts that are no SPDX expressions.
        if let Some(license) = &package.license {
            value["licenseComments"] = format!("{} says: {license}", package.kind).into();
        }
        all.push(value);
        relationships.push(json!({
            "spdxElementId": "SPDXRef-DocumentRoot-Image",
            "relationshipType": "CONTAINS",
            "relatedSpdxElement": id,
        }));
    }
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": format!("urn:boxer:spdx:{config}"),
        "creationInfo": {
            "created": rfc3339(created),
            "creators": [concat!("Tool: boxer-", env!("CARGO_PKG_VERSION"))],
        },
        "packages": all,
        "relationships": relationships,
    })
}

/// Letters, digits, dots and hyphens; the number keeps two of one name apart.
fn identifier(package: &Package, number: usize) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    let name: String = package.name.chars().map(plain).collect();
    format!("SPDXRef-Package-{}-{name}-{number}", package.kind)
}
