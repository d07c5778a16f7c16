# Debian packages by CPack, one a component: `./dev package`. Dependencies are what dpkg-shlibdeps finds in the programs.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME hatchd)
set(CPACK_PACKAGE_CONTACT "The hatchd authors <hatchd@example.org>")
set(CPACK_PACKAGE_HOMEPAGE_URL "https://example.org/hatchd")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
set(full_version ${PROJECT_VERSION}-${CPACK_DEBIAN_PACKAGE_RELEASE})
set(CPACK_COMPONENTS_ALL)

# hatchd_package(COMPONENT NAME SECTION "summary" "description"): the package NAME holds the component.
function(hatchd_package component package section summary description)
  string(TOUPPER CPACK_DEBIAN_${component} prefix)
  set(${prefix}_PACKAGE_NAME ${package} PARENT_SCOPE)
  set(${prefix}_PACKAGE_SECTION ${section} PARENT_SCOPE)
  set(${prefix}_DESCRIPTION "${summary}\n${description}" PARENT_SCOPE)
  set(CPACK_COMPONENTS_ALL ${CPACK_COMPONENTS_ALL} ${component} PARENT_SCOPE)
  configure_file(packaging/changelog.in ${CMAKE_BINARY_DIR}/packaging/${package}/changelog @ONLY)
  install(FILES packaging/copyright DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/${package} COMPONENT ${component})
  install_compressed(${component} ${CMAKE_BINARY_DIR}/packaging/${package}/changelog
                     ${CMAKE_INSTALL_DATADIR}/doc/${package}/changelog.Debian.gz)
endfunction()

set(scripts ${CMAKE_CURRENT_SOURCE_DIR}/packaging)
file(WRITE ${CMAKE_BINARY_DIR}/packaging/conffiles "/etc/hatchd/hatchd.json\n")
hatchd_package(hatchd hatchd admin "maintenance hatches into running services"
"A daemon that sits beside an app and opens maintenance hatches into it over
HTTP, from outside the process: they answer when the app hangs, need no
redeploy, and are the same for every language.
.
This package holds the daemon, its client hatchctl, and the plugins that
take no library of their own.")
set(CPACK_DEBIAN_HATCHD_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_HATCHD_PACKAGE_DEPENDS "systemd | systemd-standalone-sysusers")
set(CPACK_DEBIAN_HATCHD_PACKAGE_RECOMMENDS hatchd-plugin-mail)
set(CPACK_DEBIAN_HATCHD_PACKAGE_SUGGESTS "hatchd-plugin-queue-celery, hatchd-plugin-queue-rabbitmq, hatchd-plugin-queue-redis")
set(CPACK_DEBIAN_HATCHD_PACKAGE_CONTROL_EXTRA
    ${scripts}/postinst ${scripts}/prerm ${scripts}/postrm ${CMAKE_BINARY_DIR}/packaging/conffiles)

# A plugin with libraries of its own: component plugin-NAME, package hatchd-plugin-NAME.
foreach(plugin "mail|test mails whose way is shown" "queue-celery|task through Celery and back"
               "queue-rabbitmq|message through RabbitMQ and back" "queue-redis|message through Redis and back")
  string(REGEX MATCH "^([^|]*)\\|(.*)$" matched ${plugin})
  set(name ${CMAKE_MATCH_1})
  hatchd_package(plugin-${name} hatchd-plugin-${name} admin "${CMAKE_MATCH_2}"
"A plugin of hatchd, the daemon that opens maintenance hatches into running
services.")
  set(folder ${CMAKE_BINARY_DIR}/packaging/hatchd-plugin-${name})
  foreach(script postinst postrm)
    configure_file(packaging/plugin-script ${folder}/${script} COPYONLY)
  endforeach()
  string(TOUPPER CPACK_DEBIAN_plugin-${name} prefix)
  set(${prefix}_PACKAGE_SHLIBDEPS ON)
  set(${prefix}_PACKAGE_DEPENDS "hatchd (= ${full_version})")
  set(${prefix}_PACKAGE_CONTROL_EXTRA ${folder}/postinst ${folder}/postrm)
endforeach()

hatchd_package(sdk hatch-sdk-dev libdevel "headers and template for hatches of one's own"
"What a plugin of hatchd is built with: a C ABI header, a C++ header on top
of it, a small static library, pkg-config files, and a complete small plugin
to start from (hatchd plugin new).")
set(CPACK_DEBIAN_SDK_PACKAGE_SUGGESTS hatchd)

install(DIRECTORY plugins/app/python/hatchkit DESTINATION lib/python3/dist-packages COMPONENT hatchkit
        FILES_MATCHING PATTERN *.py PATTERN __pycache__ EXCLUDE)
hatchd_package(hatchkit python3-hatchkit python "hatches inside a Python app"
"Opens maintenance hatches from inside a Python app, for hatchd beside it to
find: a decorator, and ready ones for Django, Flask and Celery. It uses
Python's standard library alone.")
set(CPACK_DEBIAN_HATCHKIT_PACKAGE_ARCHITECTURE all)
set(CPACK_DEBIAN_HATCHKIT_PACKAGE_DEPENDS "python3 (>= 3.8)")
set(CPACK_DEBIAN_HATCHKIT_PACKAGE_SUGGESTS hatchd)

include(CPack)
