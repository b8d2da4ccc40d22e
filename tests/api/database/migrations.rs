//! The migrations that have landed.

use std::{collections::BTreeMap, fs};

use ring::digest::{SHA256, digest};
use rstest::rstest;

/// The SHA-256 of every migration, by engine and name. A database remembers which ones it has
/// applied: a changed one stops every server that uses it. Append new ones, change none.
const LANDED: &[(&str, &str, &str)] = &[
    (
        "postgres",
        "1_create_accounts.sql",
        "3ddcc1995eb0858ab86aa1d9102728c16fad3d0855c1593fa7ecd1609a4f92d6",
    ),
    (
        "postgres",
        "2_create_projects.sql",
        "fe4eaafc2d1b5bed94c44b82f8c0367a0dcf935439673904ba07224045c38ffc",
    ),
    (
        "postgres",
        "3_create_streams.sql",
        "7b3acf9f63b96d6f8b1aabc2be8d8d70640005ab85100ee7ef47a5b03e9e6445",
    ),
    (
        "postgres",
        "4_guard_accounts.sql",
        "890c413bbfe8bbb9ba7bfd03c37f53a1211e5c834ef1628bcc026484999b15cb",
    ),
    (
        "postgres",
        "5_create_identities.sql",
        "d96a106877e90e701cb08d644dccdfef3861c0c475f661321b19c4b3d3a9f24b",
    ),
    (
        "postgres",
        "6_create_mail.sql",
        "37a2a73bf41cc26463acd091e46dbc9d4de7b652eaf4215c51df51c1541ca603",
    ),
    (
        "postgres",
        "7_create_audit_events.sql",
        "1bb3c1e69dbb0944df91489bdcba0a29cd719ff7fe6d8ad340077ba7cb95a54c",
    ),
    (
        "postgres",
        "8_create_keys.sql",
        "ee047efa90a5c7628e46165df1575c50ed6c7234d4d50de24a8dca5bd8584fc6",
    ),
    (
        "postgres",
        "9_create_events.sql",
        "bab6b270c5258ba9d0996093e46a9affefeb8d4e741b0745d546db957c52474d",
    ),
    (
        "postgres",
        "10_fence_publishes.sql",
        "02e1a1bfaa20cd22987e31453bedfd4682287b4319980d18008c3ded8113b75c",
    ),
    (
        "postgres",
        "11_create_refusals.sql",
        "5cd621cc0f965ec5fb174002cfb31b88ce656927ec2a4febe97134e814b5b424",
    ),
    (
        "postgres",
        "12_create_relays.sql",
        "5c9bb6517fb440eff061d825c9254f34eddbbc487fe0e9960cb14fa0e26f176c",
    ),
    (
        "postgres",
        "13_order_revocations.sql",
        "a5c203394e9a326100971cdfd60a32ca1a592bfa7a6eed45785a1dd81f142acc",
    ),
    (
        "postgres",
        "14_add_srt_passphrases.sql",
        "3b0b71514dad12780457628208245c87119dc2d58ca97b79d20a2b2e9fa65e49",
    ),
    (
        "postgres",
        "15_mark_deletions.sql",
        "210f825c863e1dcd3589dd9c881564f8703dce010c89e6da3a7d7bc2a15e5248",
    ),
    (
        "postgres",
        "16_index_ended_streams.sql",
        "0ae81813b67611e8a324bbbf1b1efb0f1de48d731e53955da12dfb447207167e",
    ),
    (
        "postgres",
        "17_keep_repeated_secrets.sql",
        "3aa41626a30edb531ca919a6f2702856496b689287df4d8766cb42e4eb8f5613",
    ),
    (
        "postgres",
        "18_add_operators.sql",
        "6e58f1090b790e2f24bee4566f4fab59f67105bd8783c28ba8f1ebf2f2a9ce33",
    ),
    (
        "postgres",
        "19_index_created_projects.sql",
        "ea95923f024d802b21d713e0f67a142dd9f4e6b0f7037f58c0df246786c1afe5",
    ),
    (
        "postgres",
        "21_record_syncs.sql",
        "5b9d7e8b9ad892d39a95e7a94d957f51d67d8f123cf5e54d3ae745ad54792fc0",
    ),
    (
        "postgres",
        "22_add_outage_policies.sql",
        "6f0c0b3fe0442270c627e8d61480d3f7a0829facf011a4fd8e6d2dd10ceac46c",
    ),
    (
        "postgres",
        "23_record_media_health.sql",
        "f109b54dde82facd9f8fbfdf4f4d02206aff4f65f25361f9c063442fd2037951",
    ),
    (
        "postgres",
        "25_add_output_options.sql",
        "77f9691d062156fb980c69b75445b36d302c4c0742e77b829d5c7c264ac3b550",
    ),
    (
        "postgres",
        "29_strengthen_sign_in.sql",
        "5aaa730eec9d66acfcd51939ca6fcb3dad70a6192ef7a499ba3fbc7afa3b9eb0",
    ),
    (
        "postgres",
        "30_change_email_addresses.sql",
        "aac38c092d565bc17bec353b6d13c5065aaab77b3b6b1e3b3175d336b040b2f4",
    ),
    (
        "sqlite",
        "1_create_accounts.sql",
        "9287d48596f9b04bbf92dc7ba4de00edea6b0958f200cb5430086a900b2072d1",
    ),
    (
        "sqlite",
        "2_create_projects.sql",
        "c09157ebaf21e11ecc7a14ee53f59ebd849acf67776a887e44353998601300aa",
    ),
    (
        "sqlite",
        "3_create_streams.sql",
        "e430333e237e363c63fbe28e966d0b6975512562ad3edd738b2fb04616948cca",
    ),
    (
        "sqlite",
        "4_guard_accounts.sql",
        "aea033d875251f97c7392bf7c741f6573454a9cecac7b1f882b7c9b3add74091",
    ),
    (
        "sqlite",
        "5_create_identities.sql",
        "d62016d4f29a14d3004ad54e98ea109c3ef6de381c5744c22bedcbd91ae4dc04",
    ),
    (
        "sqlite",
        "6_create_mail.sql",
        "61085c18ab92d6e3176db5704784725f3c68fa65ad9ebf28e011f68402119e3c",
    ),
    (
        "sqlite",
        "7_create_audit_events.sql",
        "b58fbc17faa05662d838cd0bbbf49a8b80fcd7043dc39c97e2f43bdefdfe187b",
    ),
    (
        "sqlite",
        "8_create_keys.sql",
        "873d697fcffafe25395b21f8a4ed770c1c6dfd571a4407c0d48c976b4e9b8f43",
    ),
    (
        "sqlite",
        "9_create_events.sql",
        "c8bf1ee2071af0b36a2d04efd9f6efc04bb6fc3b643d02c7c20a29a2e8f6222d",
    ),
    (
        "sqlite",
        "10_fence_publishes.sql",
        "e045807a3c6d4d40e641888f421b68373b24be7dfa0689f42dfbe1f1e7f5a091",
    ),
    (
        "sqlite",
        "11_create_refusals.sql",
        "083201bef67bb37ac1e5f4c25712caaa60ad73f8e349950e7909d4f8c7006720",
    ),
    (
        "sqlite",
        "12_create_relays.sql",
        "2517fe9445e66b4148cf35c65e056a2b98515ca0887f81d5fd9f3c95abeea216",
    ),
    (
        "sqlite",
        "13_order_revocations.sql",
        "d47e1529e539f6354be509fd59360947638b3d79c756db1a4f80568eae728f24",
    ),
    (
        "sqlite",
        "14_add_srt_passphrases.sql",
        "52c75d11745ebd3ec79a108b0abdf4c316336751b3940a1361a1b3e69746bf56",
    ),
    (
        "sqlite",
        "15_mark_deletions.sql",
        "63ca501febbbb1d17a7152005564e943e3610efeeadb9bbe7050b891c9750db1",
    ),
    (
        "sqlite",
        "16_index_ended_streams.sql",
        "0ae81813b67611e8a324bbbf1b1efb0f1de48d731e53955da12dfb447207167e",
    ),
    (
        "sqlite",
        "17_keep_repeated_secrets.sql",
        "119a75a642666a764f4867c86e0a90f8f332d715f269c28256b9b5732f8d0519",
    ),
    (
        "sqlite",
        "18_add_operators.sql",
        "e29028164f42c3dc640ac9772017548317bdebb235248af9d9707715daf4055f",
    ),
    (
        "sqlite",
        "19_index_created_projects.sql",
        "ea95923f024d802b21d713e0f67a142dd9f4e6b0f7037f58c0df246786c1afe5",
    ),
    (
        "sqlite",
        "21_record_syncs.sql",
        "5e3a8f31f4fca46bbb932ebcda6a1c4ff9cd3d5e3434892e9dbdf0701e5fa17d",
    ),
    (
        "sqlite",
        "22_add_outage_policies.sql",
        "c8becc5237b7051e80c3488aead98ec5700f7ff08e86ec6e894fb1d6bd1855fe",
    ),
    (
        "sqlite",
        "23_record_media_health.sql",
        "e3af123fcc6a01463eb6f7463a39af2a6e14dc9cb2f80267b732b731fd3f3794",
    ),
    (
        "sqlite",
        "25_add_output_options.sql",
        "02be237e8bc1693ed9fc4ef914c567cee6d25f20ec64268abdcd5bd16c325f29",
    ),
    (
        "postgres",
        "28_create_webhooks.sql",
        "1d1b7f5da48896c1e0f41220cdeed5c01102f8f9cb161594e4e49ff3f114a731",
    ),
    (
        "sqlite",
        "28_create_webhooks.sql",
        "50af87aa610353e757e9039199b0b655bc5d804fe8ada71581bd140dc2e4d343",
    ),
    (
        "sqlite",
        "29_strengthen_sign_in.sql",
        "52b69af1ebd5203d4a2d6898e80bb88a00fe5c8702f67057213942054807616b",
    ),
    (
        "sqlite",
        "30_change_email_addresses.sql",
        "b27f03787b7e37aa7f6f33b63a4f1c97f95007d25a7ada8ac73f92daadfef5dd",
    ),
    (
        "postgres",
        "31_create_organizations.sql",
        "d8278ba0f2af2fdf38c1a7a67511155beba00f441db7a03fdd604d3007d372ab",
    ),
    (
        "sqlite",
        "31_create_organizations.sql",
        "c2ada2a6ce136612a0e32cd05156e63374755037868c7c7ac6bcdd0cb8dc36f4",
    ),
    (
        "postgres",
        "32_create_invitations.sql",
        "d9eace820dbc99a5fc570ed23e6c95c74bc62ad7dbbab82b982804dadd0746db",
    ),
    (
        "sqlite",
        "32_create_invitations.sql",
        "0a8df60921045a83d650f065b4723661a2bd5544a2b81402d7020ba32a695ca5",
    ),
    (
        "postgres",
        "33_add_passkeys.sql",
        "c07050b58b349e9e19d80b49d4e56e1a3d73efcf40cccec13b3971ab3325c88c",
    ),
    (
        "sqlite",
        "33_add_passkeys.sql",
        "13d9b46127e4e749459b5a7f883f3b0219488c2be454ba5f0c0392106f4e000d",
    ),
    (
        "postgres",
        "34_index_unclaimed_relays.sql",
        "9d82c8497a060f6105e78936a6d6fb1705620470cee650f34bf4a638279bd952",
    ),
    (
        "sqlite",
        "34_index_unclaimed_relays.sql",
        "9d82c8497a060f6105e78936a6d6fb1705620470cee650f34bf4a638279bd952",
    ),
    (
        "postgres",
        "35_lease_by_worker.sql",
        "2fcd4244954ed4bc93a587ed145a8f19ca1a8db69dc34873faa0aa3a48cc83ba",
    ),
    (
        "sqlite",
        "35_lease_by_worker.sql",
        "8048034ea6b7945b439748b87a9f754014a8412769a685abed2f2cacabb0d5a3",
    ),
    (
        "postgres",
        "36_record_usage.sql",
        "71d4644da929d3f1c67065de85802275852fbd06282345988ceec3d2d3a101b4",
    ),
    (
        "sqlite",
        "36_record_usage.sql",
        "99bd2345f15a98d65ca7ff324e2e0f6e5124f52acf1ba9dc138c343efb8dd4e0",
    ),
    (
        "postgres",
        "37_create_quotas.sql",
        "3d35922925a920f762a8c9f2e0aaceebf67c37151739e2012a9ab488c4d763fa",
    ),
    (
        "sqlite",
        "37_create_quotas.sql",
        "e9f9183567f042fad6465b6aa92e8521d5888adab83bae18ab8a86a0b2fbb659",
    ),
    (
        "postgres",
        "38_add_organization_keys.sql",
        "6cbb284dd14826f317be97f28d5de37d34e3455a66060842d204385d7c557a86",
    ),
    (
        "sqlite",
        "38_add_organization_keys.sql",
        "808236b3fd887bd2c2031ca2038718bb893a83d253d7f57fd4260e527757c220",
    ),
    (
        "postgres",
        "39_note_missing_capacity.sql",
        "82d1303d9195cf866484d3b9210efcdc709be1226d0447410faee6e10b8a8580",
    ),
    (
        "sqlite",
        "39_note_missing_capacity.sql",
        "f896f2eed73ed56d066cdfe69cc3d34932de4fa1a12c7e94178d2dd9ceb0641d",
    ),
    (
        "postgres",
        "40_update_streams_in_place.sql",
        "959c6b5bad197bd880e3749aaf440cfdd55e0d9efa3638afa16ed8a616f047d8",
    ),
    (
        "sqlite",
        "40_update_streams_in_place.sql",
        "e96573c48a3915130f6590be8e6d22a76d9ee2b594f5959fe3be3e894ff18799",
    ),
    (
        "postgres",
        "41_drain_nodes.sql",
        "50e3fdae278b3e91cca60a1ffa9e758963a7fb65579e1ce1ed5165928e8fb49e",
    ),
    (
        "sqlite",
        "41_drain_nodes.sql",
        "577686b1198a7187e284bd8dfc43d1306fdef520c8adda55a5fce13a3ff84e21",
    ),
    (
        "postgres",
        "42_suspend_organizations.sql",
        "9d882fee157637c5930ab52e514348aa58a8c608407ab44dde9e8d7cc7a076ce",
    ),
    (
        "sqlite",
        "42_suspend_organizations.sql",
        "477befa250ed34305deeb21612cf1452dd96bbeb88c58680d585439ce0188b2e",
    ),
    (
        "postgres",
        "43_require_second_factors.sql",
        "9a5a66c2fed494b53a71fdf587e0b7560e71d07fb559d40ee7b1c81ca610c703",
    ),
    (
        "sqlite",
        "43_require_second_factors.sql",
        "5728e66c1b91e97b65f55736103858c3810eba4eef67f4931fe1fea9d64d2bb8",
    ),
    (
        "postgres",
        "44_note_proven_relays.sql",
        "aa392e012d00e2e85947d8206c067241780f228af5ba49ab4576d77625c59d86",
    ),
    (
        "sqlite",
        "44_note_proven_relays.sql",
        "f234674b6cffdf7bab45927ba62af8d404905001222b68996f689efcf8a3d61b",
    ),
];

#[rstest]
#[case("postgres")]
#[case("sqlite")]
fn a_landed_migration_never_changes(#[case] engine: &str) {
    let rows = LANDED.iter().filter(|(of, ..)| *of == engine);
    let mut landed: BTreeMap<_, _> = rows.map(|(_, name, sum)| (*name, *sum)).collect();

    for entry in fs::read_dir(format!("migrations/{engine}")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let text = fs::read(&path).unwrap();
        let sum = digest(&SHA256, &text);
        let sum: String = sum
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        match landed.remove(name) {
            Some(expected) => assert!(
                sum == expected,
                "migrations/{engine}/{name} has landed and must not change: undo that, and add a \
                 new migration"
            ),
            None => panic!("append to LANDED: (\"{engine}\", \"{name}\", \"{sum}\")"),
        }
        assert!(
            !text.starts_with(b"-- no-transaction"),
            "migrations/{engine}/{name}: all migrations share one transaction"
        );
    }

    assert!(landed.is_empty(), "migrations have disappeared: {landed:?}");
}

/// Migrations that do more than add, each with the test that the previous version goes on beside.
const CHANGING: &[(&str, &str)] = &[
    (
        "31_create_organizations.sql",
        "database::organizations::the_previous_version_creates_and_deletes_accounts_and_projects",
    ),
    // It marks the streams that have ended. The statements that create streams are the same.
    (
        "36_record_usage.sql",
        "usage::recording::the_time_of_a_stream_is_that_from_live_to_its_end",
    ),
    // It drops an index. The statement that used it is the same in both versions.
    (
        "40_update_streams_in_place.sql",
        "stream::heartbeat_timeout::a_stream_without_heartbeats_ends_at_its_last_seen_time",
    ),
];

/// Servers of the previous version go on beside a new one: what they read and write stays as it was.
#[rstest]
#[case("postgres")]
#[case("sqlite")]
fn migrations_only_add(#[case] engine: &str) {
    for entry in fs::read_dir(format!("migrations/{engine}")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if CHANGING.iter().any(|(changing, _)| *changing == name) {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let lines = text
            .lines()
            .map(|line| line.split("--").next().unwrap_or_default());
        let text = lines.collect::<Vec<_>>().join(" ").to_lowercase();
        for statement in text.split(';') {
            let words: Vec<_> = statement.split_whitespace().collect();
            let adds = match words.as_slice() {
                [] | ["create", "table" | "index", ..] | ["create", "unique", "index", ..] => true,
                ["insert", "into", ..] => true,
                // Only how PostgreSQL stores the rows.
                ["alter", "table", _, "set", "(fillfactor", ..] => true,
                ["alter", "table", _, "add", "column", _, _, definition @ ..] => {
                    let must_be_set = definition.windows(2).any(|pair| pair == ["not", "null"]);
                    !must_be_set || definition.contains(&"default")
                }
                _ => false,
            };
            assert!(adds, "{}: {statement}", path.display());
        }
    }
}
